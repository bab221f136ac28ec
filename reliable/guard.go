package reliable

import "runtime/debug"

// guard calls fn and turns a panic into a *PanicError. If fn calls
// runtime.Goexit, guard can't return: it sends the *PanicError to exited
// instead, while the goroutine ends.
func guard(fn func() error, exited chan<- error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			return
		}
		exited <- &PanicError{Stack: debug.Stack()}
	}()
	err = fn()
	returned = true
	return err
}
