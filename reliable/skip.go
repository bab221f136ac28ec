package reliable

import (
	"context"

	"gorm.io/gorm"
)

type skipKey struct{}

// Skip returns a session of db whose writes are not captured.
func Skip(db *gorm.DB) *gorm.DB {
	return db.Session(&gorm.Session{}).WithContext(SkipContext(db.Statement.Context))
}

// SkipContext returns a context under which writes are not captured.
func SkipContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, skipKey{}, true)
}

func skipped(ctx context.Context) bool {
	return ctx.Value(skipKey{}) != nil
}
