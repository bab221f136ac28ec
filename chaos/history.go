package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// never is the end of what was not seen to end.
const never = math.MaxInt64

// Run is one run of a callback. One that was broken off by the end of its
// process ends with that.
type Run struct {
	Worker     int
	Token      int64
	Entry      int64
	Callback   string
	Attempt    int
	Subject    string // what the entry tells of
	Start, End int64
	Result     string // ok or failed; empty when it was broken off
}

// Hold is what a worker claimed, under one token.
type Hold struct {
	Worker   int
	Token    int64
	Before   int64 // the claim was not asked for yet
	From     int64 // the claim was there
	IDs      []int64
	Given    map[int64]int64 // by entry: when the worker was about to finish or release it
	Written  map[int64]int64 // by entry: when the worker was about to finish it
	Finished map[int64]int64 // by entry: when nothing was owed any more, durably
}

// History is what a ledger says.
type History struct {
	Runs  []*Run // by start
	Holds map[int64]*Hold
	Beats map[int][]int64  // by worker: from when the lease lasts, ascending
	Exits map[int]Exit     // by worker
	Fault map[string]int64 // how often each was seen
	Blind int              // claims of which it is not known whether they were there: the answer, or the worker, was lost

	Retried, Discarded map[int64]int64 // by entry: when an operator was about to do that, last
}

// Exit is the end of a worker.
type Exit struct {
	At  int64
	How string // killed, clean or failed
}

// ReadLedger reads a ledger. A file that is not there is an empty one.
func ReadLedger(path string) (*History, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return readHistory(string(text))
}

func readHistory(text string) (*History, error) {
	h := &History{
		Holds: make(map[int64]*Hold), Beats: make(map[int][]int64), Exits: make(map[int]Exit), Fault: make(map[string]int64),
		Retried: make(map[int64]int64), Discarded: make(map[int64]int64),
	}
	var lines []line
	for row := range strings.Lines(text) {
		if l, ok := parse(row); ok {
			lines = append(lines, l)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	open := make(map[string]*Run)
	for i := range lines {
		l := &lines[i]
		if h.note(l, open); l.err != nil {
			return nil, fmt.Errorf("ledger: %s: %w", l.kind, l.err)
		}
	}
	for _, r := range open {
		if exit, ok := h.Exits[r.Worker]; ok {
			r.End = exit.At
		}
	}
	for _, beats := range h.Beats {
		slices.Sort(beats)
	}
	return h, nil
}

// note takes a line in. Runs that did not end are in open.
func (h *History) note(l *line, open map[string]*Run) {
	switch l.kind {
	case "claiming":
		h.Blind++
	case "idle":
		h.Blind--
	case "claim":
		h.Blind--
		h.Holds[l.number(0)] = &Hold{
			Worker: l.worker, Token: l.number(0), Before: l.number(1), From: l.at, IDs: l.ids(2),
			Given: make(map[int64]int64), Written: make(map[int64]int64), Finished: make(map[int64]int64),
		}
	case "start":
		r := &Run{
			Worker: l.worker, Token: l.number(0), Entry: l.number(1), Callback: l.text(2), Attempt: int(l.number(3)),
			Subject: l.text(4), Start: l.at, End: never,
		}
		h.Runs = append(h.Runs, r)
		open[l.run()] = r
	case "end":
		if r := open[l.run()]; r != nil {
			r.End, r.Result = l.at, l.text(4)
			delete(open, l.run())
		}
	case "finishing", "releasing", "finished":
		if hold := h.Holds[l.number(0)]; hold != nil {
			hold.note(l)
		}
	case "beat":
		h.Beats[l.worker] = append(h.Beats[l.worker], l.number(0))
	case "retried":
		for _, id := range l.ids(0) {
			h.Retried[id] = l.at
		}
	case "discarded":
		for _, id := range l.ids(0) {
			h.Discarded[id] = l.at
		}
	case "exit":
		h.Exits[l.worker] = Exit{l.at, l.text(0)}
	case "fault":
		h.Fault[l.text(0)]++
	default:
		l.err = errors.New("no such line")
	}
}

// note takes in what became of entries. Of several tries the first counts.
func (h *Hold) note(l *line) {
	for _, at := range map[string][]map[int64]int64{
		"finishing": {h.Given, h.Written}, "releasing": {h.Given}, "finished": {h.Finished},
	}[l.kind] {
		for _, id := range l.ids(1) {
			if _, ok := at[id]; !ok {
				at[id] = l.at
			}
		}
	}
}

// run names a run that has no end yet.
func (l *line) run() string {
	return fmt.Sprint(l.worker, l.text(0), l.text(1), l.text(2))
}

// Lease returns until when, at most, the worker could trust that it held a
// claim: one lease after the last heartbeat, counted from the one before the
// claim on, each within the lease of the one before it. Later heartbeats are of
// another lease. It is math.MinInt64 where no heartbeat is known.
func (h *History) Lease(token int64, ttl time.Duration) int64 {
	hold := h.Holds[token]
	if hold == nil {
		return math.MinInt64
	}
	until := int64(math.MinInt64)
	for _, sent := range h.Beats[hold.Worker] {
		if sent > hold.Before && sent > until {
			break
		}
		until = sent + int64(ttl)
	}
	return until
}
