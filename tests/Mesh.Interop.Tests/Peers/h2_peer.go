// HBONE with Go's golang.org/x/net/http2, as client or as server. Tells in lines what it sees.
// Argument: {"role": "server", "key", "cert", "ca"} or {"role": the mode of the client, "port", "key", "cert", "ca", "size", "tunnels"}.
// A client without key has no certificate.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2"
)

var options struct {
	Role, Key, Cert, Ca string
	Port, Tunnels       int
	Size                int64
}

var saying sync.Mutex

func say(format string, values ...any) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Printf(format+"\n", values...)
}

func check(err error) {
	if err != nil {
		say("error %v", err)
		os.Exit(1)
	}
}

func main() {
	check(json.Unmarshal([]byte(os.Args[1]), &options))
	if options.Role == "server" {
		server()
	} else {
		client()
	}
}

func roots() *x509.CertPool {
	pem, err := os.ReadFile(options.Ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

func certificates() []tls.Certificate {
	if options.Key == "" {
		return nil
	}
	certificate, err := tls.LoadX509KeyPair(options.Cert, options.Key)
	check(err)
	return []tls.Certificate{certificate}
}

// The server.

func server() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	http1 := &http.Server{
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: certificates(),
			ClientCAs:    roots(),
			ClientAuth:   tls.RequireAndVerifyClientCert,
		},
	}
	check(http2.ConfigureServer(http1, &http2.Server{}))
	drained := make(chan struct{})
	http1.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say("request %s %s from %s over %s", r.Method, r.Host, r.TLS.PeerCertificates[0].URIs[0], r.Proto)
		host, _, _ := strings.Cut(r.Host, ":")
		answer(w, r, host, func() {
			go func() {
				check(http1.Shutdown(context.Background()))
				say("drained")
				close(drained)
			}()
		})
	})
	say("listening %d", listener.Addr().(*net.TCPAddr).Port)
	if err := http1.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		check(err)
	}
	<-drained
}

// What the server does follows from the host of the authority.
func answer(w http.ResponseWriter, r *http.Request, host string, drain func()) {
	if status, err := strconv.Atoi(strings.TrimPrefix(host, "refuse")); err == nil {
		w.WriteHeader(status)
		return
	}
	if host == "drain" {
		drain()
	}
	w.Header().Set("baggage", "k8s.cluster.name=go")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	switch host {
	case "echo", "drain":
		_, err := io.Copy(flushing{w}, r.Body)
		if err != nil {
			say("stream-error %v", err)
		}
	case "client-first":
		heard, err := io.ReadAll(r.Body)
		check(err)
		fmt.Fprintf(w, "you said %s", heard)
	case "server-first":
		// A handler ends the stream by its return, both ways: this server has no half-close of its own.
		fmt.Fprint(w, "hello")
	case "reset":
		r.Body.Read(make([]byte, 1))
		panic(http.ErrAbortHandler)
	}
}

type flushing struct{ http.ResponseWriter }

func (w flushing) Write(octets []byte) (int, error) {
	count, err := w.ResponseWriter.Write(octets)
	w.ResponseWriter.(http.Flusher).Flush()
	return count, err
}

// The client.

type tunnel struct {
	out    *io.PipeWriter
	in     io.ReadCloser
	status int
	header http.Header
}

func client() {
	address := fmt.Sprintf("127.0.0.1:%d", options.Port)
	secure, err := tls.Dial("tcp", address, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{http2.NextProtoTLS},
		Certificates: certificates(),
		// The peer's name is a SPIFFE ID, which is not a host name: the chain is verified here.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			say("tls %s", state.PeerCertificates[0].URIs[0])
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	})
	check(err)
	connection, err := (&http2.Transport{StrictMaxConcurrentStreams: true}).NewClientConn(secure)
	check(err)
	modes[options.Role](connection)
	// Waits for the streams that are still open.
	check(connection.Shutdown(context.Background()))
	say("done")
}

func request(connection *http2.ClientConn, method, authority string, body io.ReadCloser) (*http.Response, error) {
	return connection.RoundTrip(&http.Request{
		Method: method,
		URL:    &url.URL{Scheme: "https", Host: authority, Path: "/"},
		Header: http.Header{"Baggage": {"k8s.cluster.name=go"}},
		Body:   body,
	})
}

func connect(connection *http2.ClientConn, authority string) tunnel {
	in, out := io.Pipe()
	response, err := request(connection, http.MethodConnect, authority, in)
	check(err)
	return tunnel{out, response.Body, response.StatusCode, response.Header}
}

func (t tunnel) hear() string {
	heard, err := io.ReadAll(t.in)
	check(err)
	return string(heard)
}

// Sends random octets and reads at once; both as a count and a SHA-256.
func (t tunnel) echo(size int64) (string, string) {
	sum := make(chan string)
	go func() {
		hash := sha256.New()
		_, err := io.Copy(t.out, io.TeeReader(io.LimitReader(rand.Reader, size), hash))
		check(err)
		check(t.out.Close())
		sum <- fmt.Sprintf("%d %x", size, hash.Sum(nil))
	}()
	hash := sha256.New()
	count, err := io.Copy(hash, t.in)
	check(err)
	return <-sum, fmt.Sprintf("%d %x", count, hash.Sum(nil))
}

var modes = map[string]func(*http2.ClientConn){
	"echo": func(connection *http2.ClientConn) {
		t := connect(connection, "10.0.0.1:80")
		say("status %d %s", t.status, t.header.Get("baggage"))
		if t.status != http.StatusOK {
			say("heard %s", t.hear())
			return
		}
		sent, received := t.echo(options.Size)
		say("sent %s", sent)
		say("received %s", received)
	},
	// Ends first, and still hears the answer.
	"client-first": func(connection *http2.ClientConn) {
		t := connect(connection, "10.0.0.1:80")
		fmt.Fprint(t.out, "hello")
		check(t.out.Close())
		say("heard %s", t.hear())
	},
	// Hears the end, and still speaks.
	"server-first": func(connection *http2.ClientConn) {
		t := connect(connection, "10.0.0.1:80")
		say("heard %s", t.hear())
		fmt.Fprint(t.out, "after your end")
		check(t.out.Close())
	},
	// All at once, on one connection.
	"many": func(connection *http2.ClientConn) {
		var all sync.WaitGroup
		for i := 0; i < options.Tunnels; i++ {
			all.Add(1)
			go func(i int) {
				defer all.Done()
				sent, received := connect(connection, fmt.Sprintf("10.0.0.1:%d", 1000+i)).echo(options.Size)
				if sent == received {
					say("same %d", i)
				} else {
					say("different %s %s", sent, received)
				}
			}(i)
		}
		all.Wait()
	},
	// A tunnel that goes on while the server drains: it begins when it hears an octet. Another cannot be had any more.
	"drain": func(connection *http2.ClientConn) {
		t := connect(connection, "10.0.0.1:80")
		_, err := io.ReadFull(t.in, make([]byte, 1))
		check(err)
		sent, received := t.echo(options.Size)
		say("sent %s", sent)
		say("received %s", received)
		_, err = request(connection, http.MethodConnect, "10.0.0.1:80", nil)
		say("another %v", err)
	},
	// Not a CONNECT.
	"get": func(connection *http2.ClientConn) {
		for i := 0; i < 3; i++ {
			response, err := request(connection, http.MethodGet, "10.0.0.1:80", nil)
			check(err)
			body, err := io.ReadAll(response.Body)
			check(err)
			say("status %d %q", response.StatusCode, body)
		}
	},
}
