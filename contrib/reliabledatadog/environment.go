package reliabledatadog

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/DataDog/datadog-go/v5/statsd"
)

const defaultPort = "8125"

// fromEnvironment makes a client for the agent that the environment names.
func fromEnvironment() (*statsd.Client, error) {
	address, tags, err := environment()
	if err != nil {
		return nil, err
	}
	client, err := statsd.New(address, statsd.WithTags(tags), statsd.WithExtendedClientSideAggregation())
	if err != nil {
		return nil, fmt.Errorf("reliabledatadog: agent at %s: %w", address, err)
	}
	return client, nil
}

// environment reads where the agent is and the tags of DD_TAGS. The client adds
// those of DD_ENV, DD_SERVICE and DD_VERSION. It reports all mistakes at once.
func environment() (address string, tags []string, err error) {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("reliabledatadog: "+format, args...))
	}
	host, port, agent := os.Getenv("DD_AGENT_HOST"), os.Getenv("DD_DOGSTATSD_PORT"), os.Getenv("DD_DOGSTATSD_URL")
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) {
		wrong("DD_DOGSTATSD_PORT is %q: want a port from 1 to 65535", port)
	}
	switch {
	case agent != "":
		if address = addressOf(agent); address == "" {
			wrong("DD_DOGSTATSD_URL is %q: want udp://host:port or unix:///path", agent)
		}
	case isSocket(host):
		address = host
	case host != "":
		if port == "" {
			port = defaultPort
		}
		address = net.JoinHostPort(strings.Trim(host, "[]"), port)
	default:
		wrong("no agent is named: set DD_AGENT_HOST or DD_DOGSTATSD_URL, or Metrics.Client")
	}
	for tag := range strings.FieldsFuncSeq(os.Getenv("DD_TAGS"), func(r rune) bool { return r == ',' || r == ' ' }) {
		name, _, _ := strings.Cut(tag, ":")
		variable := map[string]string{"env": "DD_ENV", "service": "DD_SERVICE", "version": "DD_VERSION"}[name]
		switch {
		case !wellFormed(tag):
			wrong("DD_TAGS has %q: want name:value, with commas or spaces between", tag)
		case variable == "" || os.Getenv(variable) == "": // else that one beats it
			tags = append(tags, tag)
		}
	}
	return address, tags, errors.Join(mistakes...)
}

// addressOf returns the client's address for a URL, empty if it is none.
func addressOf(agent string) string {
	if isSocket(agent) {
		return agent
	}
	u, err := url.Parse(agent)
	if err != nil || u.Scheme != "udp" || u.Hostname() == "" {
		return ""
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), defaultPort)
	}
	return u.Host
}

// isSocket reports whether an address is a Unix socket's or a named pipe's.
func isSocket(address string) bool {
	for _, prefix := range statsd.AddressPrefixes {
		if path, ok := strings.CutPrefix(address, prefix); ok {
			return path != ""
		}
	}
	return false
}
