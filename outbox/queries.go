package outbox

import (
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// pauseRow is a row of outbox_pauses without the time, which is the database's.
type pauseRow struct {
	ID            int64 `gorm:"primaryKey;autoIncrement:false"`
	Context       string
	ResourceClass string
	EventName     string
	Callback      string
	Reason        string
}

// insertPause writes a pause, or the reason of one that is there: by the
// primary key.
func insertPause(db *gorm.DB, t reliable.Tables, p reliable.Pause) error {
	row := pauseRow{p.ID(), p.Context, p.Model, p.Event, p.Callback, p.Reason}
	again := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"reason"})}
	return db.Table(t.Pauses()).Clauses(again).Create(&row).Error
}

// deletePause deletes a pause by the primary key. It reports whether it was
// there.
func deletePause(db *gorm.DB, t reliable.Tables, p reliable.Pause) (bool, error) {
	result := db.Table(t.Pauses()).Where("id = ?", p.ID()).Delete(&pauseRow{})
	return result.RowsAffected > 0, result.Error
}

// selectPauses reads the whole table, which is small, from the database that is
// written to.
func selectPauses(db *gorm.DB, t reliable.Tables) ([]reliable.Pause, error) {
	var rows []struct{ Context, ResourceClass, EventName, Callback, Reason, Since string }
	err := onWriter(db, func(tx *gorm.DB) error {
		return tx.Table(t.Pauses()).Select("id, context, resource_class, event_name, callback, reason, " + timeText(db, "paused_at") + " AS since").Order("paused_at, id").Scan(&rows).Error
	})
	if err != nil {
		return nil, err
	}
	pauses := make([]reliable.Pause, len(rows))
	for i, r := range rows {
		since, _ := timeOf(r.Since) // zero if somebody else wrote it
		pauses[i] = reliable.Pause{Context: r.Context, Model: r.ResourceClass, Event: r.EventName, Callback: r.Callback, Reason: r.Reason, At: since}
	}
	return pauses, nil
}

// onWriter runs f, which only reads, in a transaction, so that no resolver sends
// it to a replica. SQLite has none, and a transaction may keep others from
// writing there.
func onWriter(db *gorm.DB, f func(tx *gorm.DB) error) error {
	if db.Name() == "sqlite" {
		return f(db)
	}
	return db.Transaction(f)
}

// timeText is the expression for a column of times as text, which every driver
// delivers alike.
func timeText(db *gorm.DB, column string) string {
	switch db.Name() {
	case "postgres":
		return "to_char(" + column + " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
	case "mysql":
		return "CAST(" + column + " AS char)"
	default:
		return column
	}
}

// timeFormat is how timeText shows a time, but for zeros at the end.
const timeFormat = "2006-01-02 15:04:05.000000"

// timeOf reads what timeText made, in UTC.
func timeOf(text string) (time.Time, error) { return time.Parse("2006-01-02 15:04:05.999999", text) }

// timeParameter returns a placeholder for a time in timeFormat, and its value,
// as columns hold times.
func timeParameter(db *gorm.DB, text string) (placeholder string, value any) {
	switch db.Name() {
	case "postgres":
		return "CAST(? AS timestamptz)", text + "+00"
	case "sqlite":
		return "?", text[:min(len(text), len("2006-01-02 15:04:05.000"))]
	default:
		return "?", text
	}
}
