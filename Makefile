.PHONY: help demo test race verify tidy fuzz

FUZZTIME ?= 30s

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run a shop, kill its worker, and prove that nothing is lost
	go run ./examples/shop

test: ## run all tests on PostgreSQL, MariaDB and SQLite
	go test -timeout 20m ./...

race: ## run all tests with the race detector
	go test -race -timeout 25m ./...

fuzz: ## fuzz each decoder for FUZZTIME
	go test ./internal/codec -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZTIME)

tidy: ## tidy go.mod and format
	go mod tidy
	gofmt -w .

verify: ## check modules, formatting and vet
	go mod verify
	go mod tidy -diff
	test -z "$$(gofmt -l .)"
	go vet ./...
