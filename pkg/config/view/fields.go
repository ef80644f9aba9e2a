package view

import (
	"reflect"
	"time"
)

// hidden stands for a secret.
const hidden = "(not shown)"

// Field is a member of a file's object.
type Field struct {
	Path string // "media[].kind"
	Type string // string, number, boolean; with "or null" if it may be absent
	Doc  string
}

// Fields describe the objects of a kind of file, in their order; nil for an unknown kind.
func Fields(kind string) []Field {
	t, ok := map[string]reflect.Type{
		"ha.cf": reflect.TypeFor[HA](), "authkeys": reflect.TypeFor[Keys](),
		"haresources": reflect.TypeFor[Groups](), "ldirectord.cf": reflect.TypeFor[Director](),
	}[kind]
	if !ok {
		return nil
	}
	return fields("", t)
}

func fields(prefix string, t reflect.Type) []Field {
	var list []Field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			list = append(list, fields(prefix, f.Type)...)
			continue
		}
		path, doc := prefix+f.Tag.Get("json"), f.Tag.Get("doc")
		typ, null := f.Type, ""
		if typ.Kind() == reflect.Pointer {
			typ, null = typ.Elem(), " or null"
		}
		if typ.Kind() == reflect.Slice {
			typ, path = typ.Elem(), path+"[]"
		}
		if typ.Kind() == reflect.Struct {
			list = append(list, Field{path, "object" + null, doc})
			list = append(list, fields(path+".", typ)...)
			continue
		}
		name := "string"
		switch typ.Kind() {
		case reflect.Bool:
			name = "boolean"
		case reflect.Int, reflect.Float64:
			name = "number"
		}
		list = append(list, Field{path, name + null, doc})
	}
	return list
}

// list is s as a list that is never null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// some is a value, or nil if it is the zero value, which means that nothing was said.
func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// someSeconds are the seconds of a time that is not 0.
func someSeconds(d time.Duration) *float64 { return some(d.Seconds()) }
