package haresources

// Split gives the script and the arguments of one word.
func Split(word string) Resource { return resource(Resource{Word: word}) }
