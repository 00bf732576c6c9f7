// A program on Go's net/http that answers what the broker answers, byte for byte, after the same check of the password:
// what an HTTP server costs that is written with nothing but its language's own library. It keeps nothing.
//
//	nethttp ADDRESS USER:PASSWORD METHOD:PATH:STATUS:FILE…
//
// A path that ends with / stands for all below it. FILE holds the body that is answered.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const bodyLimit = 1 << 20

type answer struct {
	method, path string
	status       int
	body         []byte
}

func parse(raw string) answer {
	parts := strings.SplitN(raw, ":", 4)
	if len(parts) != 4 {
		log.Fatalf("%s: not METHOD:PATH:STATUS:FILE", raw)
	}
	status, err := strconv.Atoi(parts[2])
	if err != nil {
		log.Fatal(err)
	}
	body, err := os.ReadFile(parts[3])
	if err != nil {
		log.Fatal(err)
	}
	return answer{parts[0], parts[1], status, bytes.TrimRight(body, "\n")}
}

func (a answer) fits(r *http.Request) bool {
	if r.Method != a.method {
		return false
	}
	return r.URL.Path == a.path || strings.HasSuffix(a.path, "/") && strings.HasPrefix(r.URL.Path, a.path)
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func refuse(w http.ResponseWriter, status int) {
	write(w, status, []byte(fmt.Sprintf(`{"error":%q}`, http.StatusText(status))))
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: nethttp ADDRESS USER:PASSWORD METHOD:PATH:STATUS:FILE…")
	}
	expected := sha256.Sum256([]byte(os.Args[2]))
	var answers []answer
	for _, raw := range os.Args[3:] {
		answers = append(answers, parse(raw))
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		guess := sha256.Sum256([]byte(user + ":" + password))
		if subtle.ConstantTimeCompare(guess[:], expected[:]) != 1 {
			refuse(w, http.StatusUnauthorized)
			return
		}
		for _, a := range answers {
			if !a.fits(r) {
				continue
			}
			if r.Method == http.MethodPut {
				raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
				var fields map[string]interface{}
				if err != nil || json.Unmarshal(raw, &fields) != nil {
					refuse(w, http.StatusBadRequest)
					return
				}
			}
			write(w, a.status, a.body)
			return
		}
		refuse(w, http.StatusNotFound)
	}
	server := &http.Server{
		Addr:              os.Args[1],
		Handler:           http.HandlerFunc(handle),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       60 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
