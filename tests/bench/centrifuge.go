// A server of Centrifuge, the library that Centrifugo is made of, over Redis, for
// `python -m tests.bench.centrifuge`: it obeys the control socket as the servers of
// `tests/bench/servers.py` do.
//
//	centrifuge CONTROL REDIS BODY HISTORY
//
// CONTROL is the number of an open file, REDIS a URL, BODY what it publishes, HISTORY how many
// publications of the channel are kept; 0 is PUBLISH alone, at most once and without recovery.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
)

const (
	channel = "bench"
	kept    = 60 * time.Second
	waiting = 1024
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// cpu is what this process has used so far, in seconds.
func cpu() map[string]any {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	seconds := func(part syscall.Timeval) float64 {
		return float64(part.Sec) + float64(part.Usec)/1e6
	}
	user := seconds(used.Utime)
	return map[string]any{"total": user + seconds(used.Stime), "user": user}
}

// serving is a node whose clients may subscribe to the channel and publish to it.
func serving(redis string, history []centrifuge.PublishOption) *centrifuge.Node {
	node, err := centrifuge.New(centrifuge.Config{})
	must(err)
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: redis})
	must(err)
	broker, err := centrifuge.NewRedisBroker(
		node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}},
	)
	must(err)
	node.SetBroker(broker)
	node.OnConnecting(func(
		_ context.Context, _ centrifuge.ConnectEvent,
	) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "bench"}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			options := centrifuge.SubscribeOptions{EnableRecovery: len(history) > 0}
			answer(centrifuge.SubscribeReply{Options: options}, nil)
		})
		client.OnPublish(func(event centrifuge.PublishEvent, answer centrifuge.PublishCallback) {
			// One after the other, which keeps their order, as Centrifugo does unless told otherwise.
			result, err := node.Publish(event.Channel, event.Data, history...)
			answer(centrifuge.PublishReply{Result: &result}, err)
		})
	})
	must(node.Run())
	return node
}

func main() {
	number, err := strconv.Atoi(os.Args[1])
	must(err)
	size, err := strconv.Atoi(os.Args[4])
	must(err)
	var history []centrifuge.PublishOption
	if size > 0 {
		history = append(history, centrifuge.WithHistory(size, kept))
	}
	runtime.GOMAXPROCS(1)
	body := []byte(os.Args[3])
	node := serving(os.Args[2], history)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	config := centrifuge.WebsocketConfig{
		CheckOrigin:    func(*http.Request) bool { return true },
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1},
	}
	http.Handle("/ws", centrifuge.NewWebsocketHandler(node, config))
	go func() { must(http.Serve(listener, nil)) }()

	wishes := make(chan struct{}, waiting)
	for range 64 {
		go func() {
			for range wishes {
				_, err := node.Publish(channel, body, history...)
				must(err)
			}
		}()
	}
	control, err := net.FileConn(os.NewFile(uintptr(number), "control"))
	must(err)
	tell := func(answer map[string]any) {
		line, err := json.Marshal(answer)
		must(err)
		_, err = control.Write(append(line, '\n'))
		must(err)
	}
	tell(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port})
	asked := bufio.NewReader(control)
	for {
		octet, err := asked.ReadByte()
		if err != nil {
			return
		}
		switch octet {
		case 'p':
			wishes <- struct{}{}
		case 'c':
			tell(cpu())
		case 'n':
			tell(map[string]any{"connections": node.Hub().NumClients()})
		}
	}
}
