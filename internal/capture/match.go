package capture

import "fmt"

// image is a row with its values of several keys.
type image struct {
	row  []any
	keys []string
}

// match returns a function that gives the row of before that row i of after
// was, or nil; it is to be called for every i in order. Rows are the same if
// they agree in one of the keys, the first that does. A row that after has
// twice (an upsert may meet a row that it has just written) was its own
// predecessor.
func match(before, after *table, keys [][]string) (func(i int) []any, error) {
	var by []map[string]*image
	var texts [][]string // of after's rows, by key
	was := make([]*image, len(before.rows))
	for i, row := range before.rows {
		was[i] = &image{row: before.aligned(row, after.columns)}
	}
	for _, key := range keys {
		if len(key) == 0 || len(after.rows) == 0 || !after.has(key) {
			continue
		}
		found := make(map[string]*image, len(was))
		if len(was) > 0 {
			known, err := before.keys(key)
			if err != nil {
				return nil, err
			}
			for i, text := range known {
				was[i].keys = append(was[i].keys, text)
				if text != "" {
					found[text] = was[i]
				}
			}
		}
		now, err := after.keys(key)
		if err != nil {
			return nil, err
		}
		by, texts = append(by, found), append(texts, now)
	}
	return func(i int) []any {
		var old *image
		for k := range by {
			if text := texts[k][i]; old == nil && text != "" {
				old = by[k][text]
			}
		}
		now := &image{row: after.rows[i]}
		for k := range by {
			if old != nil && by[k][old.keys[k]] == old {
				delete(by[k], old.keys[k])
			}
			now.keys = append(now.keys, texts[k][i])
			if texts[k][i] != "" {
				by[k][texts[k][i]] = now
			}
		}
		if old == nil {
			return nil
		}
		return old.row
	}, nil
}

// pair finds the row of before that each row of after was, by their keys: next
// are those that before's rows were to have after the update, now are those
// that after's have. With moved, the update changed keys; then one row that is
// left over on either side is the same row, and more are an error. A row that
// before does not have is one whose old values are not known.
func pair(before, after *table, next, now []string, moved bool) ([]Row, error) {
	by := make(map[string]int, len(next))
	for i, text := range next {
		by[text] = i
	}
	rows := make([]Row, len(after.rows))
	var strangers []int
	for i, row := range after.rows {
		rows[i].New = row
		j, ok := by[now[i]]
		if !ok {
			strangers = append(strangers, i)
			continue
		}
		rows[i].Old = before.aligned(before.rows[j], after.columns)
		delete(by, now[i])
	}
	switch {
	case len(strangers) == 0:
	case !moved:
		for _, i := range strangers {
			rows[i].OldUnknown = true
		}
	case len(strangers) == 1 && len(by) == 1:
		for _, j := range by {
			rows[strangers[0]].Old = before.aligned(before.rows[j], after.columns)
		}
	default:
		return nil, fmt.Errorf("can't tell which of %d rows got which primary key", len(strangers))
	}
	return rows, nil
}
