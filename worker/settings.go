package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// keysVariable has secrets: it is told without.
const keysVariable = "RELIABLE_ENCRYPTION_KEYS"

// settings is what the environment says. The tag want says what a variable
// takes, example shows it.
type settings struct {
	Threads         int           `env:"THREADS" envDefault:"1" min:"1" max:"10000" want:"a whole number from 1 to 10000" example:"8"`
	Pool            int           `env:"DB_POOL" min:"1" max:"10000" want:"a whole number from 1 to 10000" example:"10"`
	DatabaseURL     string        `env:"DATABASE_URL" example:"postgres://user:pass@host/db"`
	BatchSize       int           `env:"RELIABLE_BATCH_SIZE" min:"1" max:"1000" want:"a whole number from 1 to 1000" example:"500"`
	PollInterval    time.Duration `env:"RELIABLE_POLL_INTERVAL" envDefault:"500ms" min:"1ms" max:"1h" want:"a duration from 1ms to 1h" example:"500ms"`
	IdleMultiplier  int           `env:"RELIABLE_IDLE_MULTIPLIER" envDefault:"1" min:"1" max:"1000" want:"a whole number from 1 to 1000" example:"2"`
	LeaseTTL        time.Duration `env:"RELIABLE_LEASE_TTL" envDefault:"10s" min:"100ms" max:"1h" want:"a duration from 100ms to 1h" example:"10s"`
	CallbackTimeout time.Duration `env:"RELIABLE_CALLBACK_TIMEOUT" envDefault:"1m" min:"1ms" max:"24h" want:"a duration from 1ms to 24h" example:"1m"`
	ShutdownTimeout time.Duration `env:"RELIABLE_SHUTDOWN_TIMEOUT" envDefault:"25s" min:"1ms" max:"24h" want:"a duration from 1ms to 24h" example:"25s"`
	StartTimeout    time.Duration `env:"RELIABLE_START_TIMEOUT" envDefault:"2m" min:"1s" max:"24h" want:"a duration from 1s to 24h" example:"5m"`
	HeartbeatFile   string        `env:"RELIABLE_HEARTBEAT_FILE" example:"/run/worker/heartbeat"`
	Port            int           `env:"PORT" min:"1" max:"65535" want:"a whole number from 1 to 65535" example:"8080"`
	Listen          string        `env:"RELIABLE_LISTEN" envDefault:"on" oneof:"on off" example:"off"`
	Processor       string        `env:"RELIABLE_PROCESSOR" envDefault:"non_ordered" oneof:"non_ordered ordered" example:"ordered"`
	KeyPolicy       string        `env:"RELIABLE_KEY_POLICY" envDefault:"park" oneof:"park block skip" example:"park"`
	Completion      string        `env:"RELIABLE_COMPLETION" envDefault:"archive" oneof:"archive delete keep" example:"archive"`
	Retention       retention     `env:"RELIABLE_RETENTION" envDefault:"72h" want:"a duration of 1m or more, or forever" example:"72h"`
	Breaker         string        `env:"RELIABLE_BREAKER" envDefault:"on" oneof:"on off" example:"off"`
	EncryptionKeys  string        `env:"RELIABLE_ENCRYPTION_KEYS" example:"2026-11:..."` // it is the program that gives them to the plugin
	LogLevel        string        `env:"LOG_LEVEL" envDefault:"info" oneof:"debug info warn error" example:"info"`
	LogFormat       string        `env:"LOG_FORMAT" envDefault:"text" oneof:"text json" example:"json"`

	given map[string]bool // variables that are set
}

// retention is a duration, or processors.Forever.
type retention time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *retention) UnmarshalText(text []byte) error {
	if string(text) == "forever" {
		*r = retention(processors.Forever)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err == nil && d < time.Minute {
		err = errors.New("less than 1m")
	}
	*r = retention(d)
	return err
}

// String returns what UnmarshalText takes.
func (r retention) String() string {
	if time.Duration(r) == processors.Forever {
		return "forever"
	}
	return time.Duration(r).String()
}

// read takes the settings from environ ("NAME=value"). It reports all mistakes
// at once; the settings hold what could be read.
func read(environ []string) (*settings, error) {
	vars := make(map[string]string)
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" {
			vars[name] = value
		}
	}
	s := &settings{given: make(map[string]bool)}
	var mistakes []error
	if file := vars["DATABASE_URL_FILE"]; file != "" && vars["DATABASE_URL"] == "" {
		data, err := os.ReadFile(file)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("worker: DATABASE_URL_FILE: %w", err))
		}
		vars["DATABASE_URL"] = strings.TrimSpace(string(data))
	}
	bad := make(map[string]bool)
	err := env.ParseWithOptions(s, env.Options{
		Environment: vars,
		OnSet:       func(name string, _ any, isDefault bool) { s.given[name] = vars[name] != "" && !isDefault },
	})
	var all env.AggregateError
	if errors.As(err, &all) {
		for _, err := range all.Errors {
			var parse env.ParseError
			if !errors.As(err, &parse) {
				mistakes = append(mistakes, errors.New("worker: "+reliable.Redact(err.Error())))
				continue
			}
			field, _ := reflect.TypeFor[settings]().FieldByName(parse.Name)
			bad[field.Name] = true
			mistakes = append(mistakes, wrong(field, vars[field.Tag.Get("env")]))
		}
	}
	for name := range vars {
		if strings.HasPrefix(name, "RELIABLE_") && !slices.Contains(variables(), name) && !strings.HasPrefix(name, "RELIABLE_TEST_") && name != "RELIABLE_FAILPOINT" {
			mistakes = append(mistakes, fmt.Errorf("worker: %s is not known: known are %s", name, strings.Join(variables(), ", ")))
		}
	}
	slices.SortFunc(mistakes, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return s, errors.Join(append(mistakes, s.check(bad)...)...)
}

// variables returns the names of all variables.
func variables() []string {
	var names []string
	for field := range reflect.TypeFor[settings]().Fields() {
		if name := field.Tag.Get("env"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// wrong says what a variable takes.
func wrong(field reflect.StructField, value string) error {
	name, want := field.Tag.Get("env"), field.Tag.Get("want")
	if oneof := field.Tag.Get("oneof"); oneof != "" {
		want = strings.ReplaceAll(oneof, " ", ", ")
	}
	return fmt.Errorf("worker: %s=%q: want %s (example: %s=%s)", name, reliable.Redact(value), want, name, field.Tag.Get("example"))
}

// check holds every value against its bounds.
func (s *settings) check(bad map[string]bool) []error {
	var mistakes []error
	v := reflect.ValueOf(s).Elem()
	for field, value := range v.Fields() {
		name := field.Tag.Get("env")
		switch {
		case name == "" || bad[field.Name] || name == "DATABASE_URL" || !s.given[name]:
		case field.Tag.Get("oneof") != "" && !slices.Contains(strings.Fields(field.Tag.Get("oneof")), value.String()),
			!within(field, value):
			mistakes = append(mistakes, wrong(field, fmt.Sprint(value.Interface())))
		}
	}
	if s.EncryptionKeys != "" {
		if _, err := reliable.ParseKeyRing(s.EncryptionKeys); err != nil {
			mistakes = append(mistakes, fmt.Errorf("worker: %s: %w", keysVariable, err))
		}
	}
	return append(mistakes, checkURL(s.DatabaseURL)...)
}

// within reports whether a number or a duration is inside its bounds.
func within(field reflect.StructField, value reflect.Value) bool {
	low, high := field.Tag.Get("min"), field.Tag.Get("max")
	if low == "" {
		return true
	}
	if field.Type == reflect.TypeFor[time.Duration]() {
		least, err := time.ParseDuration(low)
		most, err2 := time.ParseDuration(high)
		return err == nil && err2 == nil && value.Int() >= int64(least) && value.Int() <= int64(most)
	}
	var least, most int64
	if _, err := fmt.Sscan(low+" "+high, &least, &most); err != nil {
		return false
	}
	return value.Int() >= least && value.Int() <= most
}

func checkURL(address string) []error {
	const example = "(example: postgres://user:pass@host/db)"
	if address == "" {
		return []error{errors.New("worker: DATABASE_URL is not set " + example)}
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" && u.Opaque == "" {
		return []error{errors.New("worker: DATABASE_URL is no URL: want scheme://user:pass@host/db " + example)} // not the value: it may hold a password
	}
	return nil
}

// log writes the effective values and where each came from.
func (s *settings) log(l *slog.Logger) {
	var attrs []any
	for field, value := range reflect.ValueOf(s).Elem().Fields() {
		name := field.Tag.Get("env")
		if name == "" {
			continue
		}
		text, from := fmt.Sprint(value.Interface()), "default"
		if s.given[name] {
			from = "environment"
		}
		if u, err := url.Parse(text); name == "DATABASE_URL" && err == nil {
			text = reliable.Redact(u.Redacted()) // drivers take a password in the query, too
		}
		if ring, err := reliable.ParseKeyRing(text); name == keysVariable && err == nil {
			text = fmt.Sprint(ring) // the ids
		}
		attrs = append(attrs, slog.String(name, text+" ("+from+")"))
	}
	l.Info("settings", attrs...)
}
