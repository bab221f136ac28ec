package reliablesentry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/getsentry/sentry-go"
)

// environment returns the DSN. A mistake in it is told without it: it has a
// key.
func environment() (string, error) {
	dsn, variable := os.Getenv("SENTRY_DSN"), "SENTRY_DSN"
	if file := os.Getenv("SENTRY_DSN_FILE"); dsn == "" && file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("reliablesentry: SENTRY_DSN_FILE: %w", err)
		}
		dsn, variable = strings.TrimSpace(string(text)), "SENTRY_DSN_FILE"
	}
	if dsn == "" {
		return "", errors.New("reliablesentry: no Sentry is named: set SENTRY_DSN or SENTRY_DSN_FILE, or Reporter.Client")
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User.Username() == "" || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" || strings.HasSuffix(u.Path, "/") {
		return "", fmt.Errorf("reliablesentry: %s is no DSN: want https://key@host/project", variable)
	}
	return dsn, nil
}

// newClient makes a client and what ends it, with all that it started: a
// request that the server does not answer is broken off.
func newClient(dsn string) (client *sentry.Client, end func(), err error) {
	connections := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	ended, cancel := context.WithCancel(context.Background())
	client, err = sentry.NewClient(sentry.ClientOptions{
		Dsn:           dsn,
		HTTPTransport: breakable{connections, ended},
	})
	if err != nil {
		cancel()
		return nil, nil, errors.New("reliablesentry: SENTRY_DSN is no DSN: want https://key@host/project") // the cause may quote it
	}
	return client, func() {
		cancel()
		client.Close()
		connections.CloseIdleConnections()
	}, nil
}

// breakable is a transport whose requests end with a context.
type breakable struct {
	http.RoundTripper

	ended context.Context //nolint:containedctx // of the client's life, of which requests know nothing
}

// RoundTrip implements [http.RoundTripper].
func (b breakable) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(request.Context())
	//nolint:contextcheck // the client's end, not the request's
	forget := context.AfterFunc(b.ended, cancel)
	context.AfterFunc(request.Context(), func() { forget(); cancel() }) // the sender ends it once the answer is read
	return b.RoundTripper.RoundTrip(request.WithContext(ctx))
}
