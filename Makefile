.PHONY: help demo test versions pooler programs race chaos storm mutants lint bench verify tidy fuzz

FUZZTIME ?= 30s
ROUNDS ?= 10
MINUTES ?= 0
PROGRAMS ?= 10000
VERSIONS ?= 13,14,15,16,17,18
# What listens, prepares statements, or looks at sessions of the server: behind a pooler it has nothing to say.
AROUND = ^Test(CommitsElsewhereWake|ListensAgain|ListenIsTested|CallbacksHoldTheWholePool|StartStopStress|ReadOnlyServer|NoConnectionLeft|RunTxOnANarrowPool|EveryCallHasADeadline|NoTransactionWhileACallbackRuns|ClocksApart|ClockJumps)$$
# What takes its time over leases and lanes, with statements that other tests send to each version.
ALIKE = ^Test(Locker.*|HotKeyStarvesNobody|BlockedKeysHideNobody|LanesChangeHands|HeadThatKillsWorkers|HeadIsAcquitted)$$
LINTER_VERSION = v2.15.0
LINTER = .bin/golangci-lint-$(LINTER_VERSION)

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run a shop, kill its worker, and prove that nothing is lost
	go run ./examples/shop

test: ## run all tests on PostgreSQL, MariaDB and SQLite
	go run ./internal/testdb/testservers -- go test -p 1 -timeout 20m ./...

versions: ## run what depends on PostgreSQL's version on each of VERSIONS, fetched by npm where not installed
	RELIABLE_TEST_ONLY=postgres go run ./internal/testdb/testservers -postgres $(VERSIONS) -- go test -timeout 10m ./internal/capture ./internal/matrix ./reliable ./migrations ./processors -skip '$(ALIKE)'

pooler: ## run the worker's tests by way of a PgBouncer in transaction mode
	RELIABLE_TEST_ONLY=postgres go run ./internal/testdb/testservers -pooler -- go test -count 1 -timeout 20m ./worker -skip '$(AROUND)'

programs: ## run PROGRAMS random programs of GORM operations on each database, with and without the plugin
	RELIABLE_TEST_THROWAWAY=1 go run ./internal/testdb/testservers -- go test -timeout 180m -count 1 -v ./internal/programs -run TestPrograms -programs $(PROGRAMS)

race: ## run all tests with the race detector
	go run ./internal/testdb/testservers -- go test -race -timeout 25m ./...

fuzz: ## fuzz each decoder for FUZZTIME
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' . | sed 's|/[^/]*:func | |' | while read -r package target; do \
		go test $$package -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) || exit 1; \
	done

chaos: ## kill workers and databases under 30,000 entries, and under 100,000 in order, and hold the ledger against the promise (SEED=n replays, MINUTES=60 goes on)
	go run ./internal/testdb/testservers -- go test -timeout $$(($(MINUTES) + 25))m -count 1 -v ./chaos -run '^Test(Ordered)?Round$$' -push -minutes $(MINUTES) $(if $(SEED),-seed $(SEED))

storm: ## ROUNDS times what make test does to applications that write: kill, cut, cancel
	go run ./internal/testdb/testservers -- go test -timeout 60m -count 1 -v ./chaos -skip '^Test(Ordered)?Round$$' -rounds $(ROUNDS)

mutants: ## put known bugs into the code, one by one: each must make its test fail
	go run ./internal/testdb/testservers -- go test -timeout 90m -count 1 -v ./internal/mutants -run 'TestMutants$$' -mutants

lint: $(LINTER) ## run the linters that .golangci.yml names
	$(LINTER) run ./...
	cd bench && ../$(LINTER) run ./...

$(LINTER):
	GOBIN=$(CURDIR)/.bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINTER_VERSION)
	mv .bin/golangci-lint $@

bench: ## measure beside River, the raw floor, the gem's order by key, and writes without the plugin, on PostgreSQL and Redis; bench/README.md says how to read it
	cd bench && go run .

tidy: $(LINTER) ## tidy go.mod and format
	go mod tidy
	$(LINTER) fmt ./...

verify: ## check modules and vet
	go mod verify
	go mod tidy -diff
	go vet ./...
	cd bench && go mod verify && go mod tidy -diff
