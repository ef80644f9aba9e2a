package hamsg_test

import (
	"reflect"
	"testing"

	"github.com/systole-ha/systole/pkg/hamsg"
)

func names(m *hamsg.Msg) (names []string) {
	for _, f := range m.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func TestSetKeepsTheOrder(t *testing.T) {
	m := hamsg.New("status").Add("st", "up").SetHex("seq", 0x1f).SetInt("ttl", 3)
	m.Set("st", "active").Set("info", "x")
	if got, want := names(m), []string{"t", "st", "seq", "ttl", "info"}; !reflect.DeepEqual(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	if m.Get("st") != "active" || m.Get("seq") != "1f" || m.Get("ttl") != "3" || m.Type() != "status" || m.Len() != 5 {
		t.Errorf("wrong values: %+v", m.Fields())
	}
	m.Del("seq")
	m.Del("absent")
	if got, want := names(m), []string{"t", "st", "ttl", "info"}; !reflect.DeepEqual(got, want) {
		t.Errorf("after Del: fields %q, want %q", got, want)
	}
	if m.Has("seq") || !m.Has("ttl") {
		t.Error("Has does not agree with Del")
	}
}

func TestLookUpFindsTheFirst(t *testing.T) {
	m := new(hamsg.Msg).Add("a", "1").Add("a", "2")
	if f, ok := m.Lookup("a"); !ok || f.Value != "1" {
		t.Errorf("Lookup = %+v, %t", f, ok)
	}
	if _, ok := m.Lookup("b"); ok {
		t.Error("found a field that is not there")
	}
	if m.Del("a"); m.Len() != 0 {
		t.Error("Del left a field of that name")
	}
}

func TestGetHexAsSscanf(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1f": 0x1f, "1F": 0x1f, " \t1f": 0x1f, "0x1f": 0x1f, "0X1F": 0x1f, "1fzz": 0x1f, "1f 2": 0x1f, "0x": 0, "0xg": 0,
		"": -1, " ": -1, "x1": -1, "g": -1, "-1": -1, "fffffffffffffffff": -1,
	} {
		got, ok := new(hamsg.Msg).Add("n", text).GetHex("n")
		if ok != (want >= 0) || ok && got != uint64(want) {
			t.Errorf("GetHex of %q = %#x, %t, want %#x", text, got, ok, want)
		}
	}
	if v, ok := new(hamsg.Msg).Add("n", "ffffffffffffffff").GetHex("n"); !ok || v != 1<<64-1 {
		t.Errorf("largest number: %x, %t", v, ok)
	}
	if _, ok := new(hamsg.Msg).GetHex("n"); ok {
		t.Error("absent field is a number")
	}
}

func TestGetIntAsSscanf(t *testing.T) {
	for text, want := range map[string]int64{"12": 12, " +12": 12, "-12x": -12, "007": 7} {
		if got, ok := new(hamsg.Msg).Add("n", text).GetInt("n"); !ok || got != want {
			t.Errorf("GetInt of %q = %d, %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-", "a1", "99999999999999999999"} {
		if got, ok := new(hamsg.Msg).Add("n", text).GetInt("n"); ok {
			t.Errorf("GetInt of %q = %d, want none", text, got)
		}
	}
}

func TestUUID(t *testing.T) {
	const text = "c6f9efb8-bc01-4925-aef1-e4bcc309c53d"
	u, err := hamsg.ParseUUID(text)
	if err != nil || u.String() != text || u.IsZero() {
		t.Fatalf("ParseUUID = %s, %v", u, err)
	}
	m := new(hamsg.Msg).SetUUID("srcuuid", u).SetUUID("destuuid", hamsg.UUID{}).Add("text", text[:16])
	if got, ok := m.GetUUID("srcuuid"); !ok || got != u {
		t.Errorf("GetUUID = %s, %t", got, ok)
	}
	for _, name := range []string{"destuuid", "text", "absent"} {
		if got, ok := m.GetUUID(name); ok {
			t.Errorf("GetUUID of %s = %s, want none", name, got)
		}
	}
	for _, bad := range []string{"", text[1:], text + "0", "c6f9efb8-bc01-4925-aef1+e4bcc309c53d", "g" + text[1:]} {
		if _, err := hamsg.ParseUUID(bad); err == nil {
			t.Errorf("ParseUUID took %q", bad)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	m := hamsg.New("x").AddStruct("s", new(hamsg.Msg).Add("a", "1"))
	c := m.Clone()
	sub, _ := c.Lookup("s")
	sub.Sub.Set("a", "2")
	c.Set("t", "y")
	if f, _ := m.Lookup("s"); m.Type() != "x" || f.Sub.Get("a") != "1" {
		t.Error("a change of the clone changed the message")
	}
	if !m.NetstringOnly() || hamsg.New("x").AddList("l", "a").NetstringOnly() {
		t.Error("NetstringOnly is for nested and compressed fields")
	}
}

func TestUnsequenced(t *testing.T) {
	for typ, want := range map[string]bool{"NS_st": true, "NS_x": true, "status": false, "": false} {
		if got := hamsg.New(typ).Unsequenced(); got != want {
			t.Errorf("%q: %t", typ, got)
		}
	}
}
