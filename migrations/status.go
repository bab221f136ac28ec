package migrations

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
)

// State says whether a migration is applied.
type State struct {
	Version int64      `json:"version"`
	File    string     `json:"file"`
	Applied *time.Time `json:"applied,omitempty"` // when, UTC; nil if it is not
}

// Status returns the state of each migration, in their order. Where none was
// ever applied it makes goose's table of versions.
func Status(ctx context.Context, db *gorm.DB) ([]State, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	all, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	states := make([]State, len(all))
	for i, s := range all {
		states[i] = State{Version: s.Source.Version, File: path.Base(s.Source.Path)}
		if s.State == goose.StateApplied {
			at := s.AppliedAt.UTC()
			states[i].Applied = &at
		}
	}
	return states, nil
}
