// Package own opens connections for the worker itself, apart from the pool
// that callbacks may use up.
package own

import (
	"database/sql"
	"errors"
	"reflect"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// ErrShared says that a handle's connections can't be opened a second time:
// its dialector was given a connection, not an address, or there must be no
// second handle.
var ErrShared = errors.New("no address to open connections with")

// Open returns a pool that connects as db's does: by a copy of its dialector,
// so that address, driver, options and hooks are the same. With plain, it
// prepares no statements, if the dialector knows how to. It does not connect.
// Nothing lies idle in it: a connection that broke without a word would be taken
// for the new one that is to replace another.
// The error is [ErrShared] if the pool would be db's own: the caller then
// shares that. SQLite always does.
func Open(db *gorm.DB, plain bool) (*sql.DB, error) {
	if db.Name() == "sqlite" {
		return nil, ErrShared // one file has one writer; a database in memory is one handle's
	}
	copied, settings := clone(db.Dialector)
	if copied == nil {
		return nil, ErrShared
	}
	if conn := settings("Conn"); conn.IsValid() && !conn.IsZero() {
		return nil, ErrShared // GORM would close it, should it fail to open
	}
	address, driver := settings("DSN"), settings("DriverName")
	if !address.IsValid() || address.Kind() != reflect.String || address.String() == "" {
		return nil, ErrShared
	}
	if skip := settings("SkipInitializeWithVersion"); skip.IsValid() && skip.Kind() == reflect.Bool {
		skip.SetBool(true) // it would ask the server, with no deadline
	}
	if simple := settings("PreferSimpleProtocol"); plain && simple.IsValid() && simple.Kind() == reflect.Bool {
		simple.SetBool(true)
	}
	if db.Name() == "mysql" && (!driver.IsValid() || driver.String() == "" || driver.String() == "mysql") {
		address.SetString(withTimeouts(address.String()))
	}
	opened, err := gorm.Open(copied, &gorm.Config{DisableAutomaticPing: true, Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	pool, err := opened.DB()
	if err != nil {
		return nil, err
	}
	if shared, err := db.DB(); err == nil && shared == pool {
		return nil, ErrShared
	}
	pool.SetMaxIdleConns(-1)
	return pool, nil
}

// clone returns a copy of a dialector that can be initialized without a trace
// in the original, and its settings by name. It returns nil for one that is no
// struct.
func clone(d gorm.Dialector) (copied gorm.Dialector, settings func(name string) reflect.Value) {
	original := reflect.Indirect(reflect.ValueOf(d))
	if original.Kind() != reflect.Struct {
		return nil, nil
	}
	pointer := reflect.New(original.Type())
	value := pointer.Elem()
	value.Set(original)
	for i := range value.NumField() { // GORM's dialectors embed a *Config, and change it
		field := value.Field(i)
		if !original.Type().Field(i).Anonymous || !field.CanSet() || field.Kind() != reflect.Pointer {
			continue
		}
		if field.IsNil() {
			return nil, nil
		}
		config := reflect.New(field.Type().Elem())
		config.Elem().Set(field.Elem())
		field.Set(config)
	}
	copied, ok := pointer.Interface().(gorm.Dialector)
	if !ok {
		return nil, nil
	}
	return copied, value.FieldByName
}

// withTimeouts bounds reads and writes of a connection of go-sql-driver/mysql,
// if its address does not: it sends COMMIT and ROLLBACK without a context.
func withTimeouts(address string) string {
	slash := strings.LastIndexByte(address, '/')
	if slash < 0 {
		return address
	}
	separator := "?"
	if strings.Contains(address[slash:], "?") {
		separator = "&"
	}
	for _, timeout := range []string{"readTimeout", "writeTimeout"} {
		if !strings.Contains(address[slash:], timeout+"=") {
			address += separator + timeout + "=15s"
			separator = "&"
		}
	}
	return address
}
