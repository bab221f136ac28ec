package reliabledatadog

import "testing"

// Addresses are understood as they are written.
func TestAddresses(t *testing.T) {
	for _, test := range []struct{ url, host, port, want string }{
		{"", "agent", "", "agent:8125"},
		{"", "agent", "9125", "agent:9125"},
		{"", "fd00::1", "", "[fd00::1]:8125"},
		{"", "[fd00::1]", "9125", "[fd00::1]:9125"},
		{"", "unix:///var/run/dsd.socket", "", "unix:///var/run/dsd.socket"},
		{"udp://agent", "other", "9125", "agent:8125"},
		{"udp://agent:9125", "other", "", "agent:9125"},
		{"udp://[fd00::1]", "", "", "[fd00::1]:8125"},
		{"unix:///var/run/dsd.socket", "other", "", "unix:///var/run/dsd.socket"},
	} {
		t.Setenv("DD_TAGS", "")
		t.Setenv("DD_DOGSTATSD_URL", test.url)
		t.Setenv("DD_AGENT_HOST", test.host)
		t.Setenv("DD_DOGSTATSD_PORT", test.port)
		if got, _, err := environment(); got != test.want || err != nil {
			t.Errorf("environment() with URL %q, host %q, port %q = %q, %v, want %q", test.url, test.host, test.port, got, err, test.want)
		}
	}
	for _, agent := range []string{"http://agent", "agent", "udp://", "unix://", "::"} {
		t.Setenv("DD_DOGSTATSD_URL", agent)
		if got, _, err := environment(); err == nil {
			t.Errorf("environment() with URL %q = %q, want an error", agent, got)
		}
	}
}

func TestTagsOfTheEnvironment(t *testing.T) {
	t.Setenv("DD_AGENT_HOST", "agent")
	t.Setenv("DD_ENV", "production")
	t.Setenv("DD_SERVICE", "")
	t.Setenv("DD_TAGS", "env:old service:shop,team:a")
	_, tags, err := environment()
	if err != nil || len(tags) != 2 || tags[0] != "service:shop" || tags[1] != "team:a" {
		t.Errorf("tags = %q, %v, want service and team: DD_ENV has the other", tags, err)
	}
}
