// Package reliabledatadog sends the worker's metrics to a Datadog agent, by
// DogStatsD.
//
//	stop, err := reliabledatadog.Metrics{Pools: map[string]*sql.DB{"app": pool}}.Subscribe(plugin.Monitor())
//	if err != nil {
//		return err
//	}
//	defer stop(context.Background())
//
// It counts what the workers of this process do, measures how long it took, and
// passes on what is measured of the whole outbox: how long entries wait and how
// many there are, once a minute, from one worker at a time. docs/monitoring.md
// lists the metrics with their types, units and tags.
//
// A metric has a name, a number, and tags from code and configuration: names of
// contexts, models, events, callbacks and error types. It never has an id, a
// key, a changeset, an argument or an error's text.
//
// The agent is found by the environment, as for every program of Datadog's:
//
//	DD_DOGSTATSD_URL               udp://host:port or unix:///path, or
//	DD_AGENT_HOST                  a host, or unix:///path
//	DD_DOGSTATSD_PORT              with DD_AGENT_HOST; 8125 if it is not set
//	DD_ENV, DD_SERVICE, DD_VERSION are the tags env, service and version
//	DD_TAGS                        more tags: team:shop,region:eu
//
// The client itself heeds DD_ENTITY_ID, DD_EXTERNAL_ENV, DD_CARDINALITY and
// DD_ORIGIN_DETECTION_ENABLED. Distributions are sent many to a packet, which
// agents know since 6.25 and 7.25.
package reliabledatadog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/DataDog/datadog-go/v5/statsd"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Metrics says where metrics go and what they have in addition. The zero value
// sends them to the agent of the environment.
type Metrics struct {
	// Client sends the metrics; its namespace comes before their names. It is
	// yours to close. Nil makes one for the agent of the environment.
	Client statsd.ClientInterface

	// Tags are on every metric, for example "team:shop".
	Tags []string

	// Pools are the connection pools to measure, by the name that the tag pool
	// has for them, for example "app".
	Pools map[string]*sql.DB
}

// Subscribe sends metrics of m's events from now on. All mistakes of the
// configuration and the environment come as one error, and nothing is
// subscribed then.
//
// Metrics are buffered for two seconds or so, and sent when a worker has
// stopped. stop ends the subscription, sends what is buffered and closes the
// client that Subscribe made; call it after the worker has ended. It returns an
// error if that is not done when its context is: an agent that takes nothing
// keeps a goroutine until it does. It is never nil, and does nothing the second
// time.
func (m Metrics) Subscribe(monitor *reliable.Monitor) (stop func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	if err := m.check(monitor); err != nil {
		return nothing, err
	}
	client, end := m.Client, func() error { return m.Client.Flush() }
	if client == nil {
		own, err := fromEnvironment()
		if err != nil {
			return nothing, err
		}
		client, end = own, own.Close
	}
	r := newReporter(client, monitor, m)
	cancel := monitor.Subscribe(r.report)
	var once sync.Once
	return func(ctx context.Context) (err error) {
		once.Do(func() {
			cancel()
			err = within(ctx, end)
		})
		return err
	}, nil
}

// check reports all mistakes at once, those of the environment too.
func (m Metrics) check(monitor *reliable.Monitor) error {
	var mistakes []error
	if monitor == nil {
		mistakes = append(mistakes, errors.New("reliabledatadog: the monitor is nil: pass the plugin's, Plugin.Monitor()"))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Pools)) {
		if m.Pools[name] == nil {
			mistakes = append(mistakes, fmt.Errorf("reliabledatadog: Pools[%q] is nil: pass the *sql.DB, or leave it out", name))
		}
		if name == "" || cleanTag(name) != name {
			mistakes = append(mistakes, fmt.Errorf("reliabledatadog: Pools has the name %q: want letters, digits and _ - . /", name))
		}
	}
	for _, tag := range m.Tags {
		if !wellFormed(tag) {
			mistakes = append(mistakes, fmt.Errorf("reliabledatadog: Tags has %q: want name:value, without spaces, commas and |", tag))
		}
	}
	if m.Client == nil {
		_, _, err := environment()
		mistakes = append(mistakes, err)
	}
	return errors.Join(mistakes...)
}

// within runs end, but does not wait for it longer than ctx lets it.
func within(ctx context.Context, end func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("reliabledatadog: send what is buffered: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reliabledatadog: send what is buffered: %w", context.Cause(ctx))
	}
}

// wellFormed reports whether a tag is a name and a value.
func wellFormed(tag string) bool {
	name, value, ok := strings.Cut(tag, ":")
	return ok && name != "" && value != "" && !strings.ContainsAny(tag, " \t\r\n,|#")
}
