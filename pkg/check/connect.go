package check

func init() { checkers["connect"] = script((*session).connect) }
