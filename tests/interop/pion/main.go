// Two peer connections of pion that may only use relayed candidates; prints one JSON object about what happened.
//
//	pion URL USER PASSWORD
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sort"
	"time"

	"github.com/pion/webrtc"
)

const messages = 200

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func open() *webrtc.PeerConnection {
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{
		ICEServers: []webrtc.ICEServer{{
			URLs: []string{os.Args[1]}, Username: os.Args[2], Credential: os.Args[3],
			CredentialType: webrtc.ICECredentialTypePassword,
		}},
		ICETransportPolicy: webrtc.ICETransportPolicyRelay,
	})
	check(err)
	return connection
}

func inbox(channel *webrtc.DataChannel) chan []byte {
	queue := make(chan []byte, messages)
	channel.OnMessage(func(message webrtc.DataChannelMessage) { queue <- message.Data })
	return queue
}

func exchange(here *webrtc.DataChannel, there chan []byte) int {
	good := 0
	for number := 0; number < messages; number++ {
		message := make([]byte, 32+number*20)
		_, err := rand.Read(message)
		check(err)
		check(here.Send(message))
		select {
		case got := <-there:
			if bytes.Equal(got, message) {
				good++
			}
		case <-time.After(5 * time.Second):
			check(errors.New("a message did not come"))
		}
	}
	return good
}

// describe sets a description and returns it with all its candidates.
func describe(connection *webrtc.PeerConnection, make func() (webrtc.SessionDescription, error)) webrtc.SessionDescription {
	description, err := make()
	check(err)
	gathered := webrtc.GatheringCompletePromise(connection)
	check(connection.SetLocalDescription(description))
	<-gathered
	return *connection.LocalDescription()
}

func main() {
	time.AfterFunc(40*time.Second, func() { check(errors.New("it took too long")) })
	one, two := open(), open()
	left, err := one.CreateDataChannel("bytes", nil)
	check(err)
	fromRight, opened := inbox(left), make(chan bool)
	left.OnOpen(func() { close(opened) })
	type end struct {
		channel *webrtc.DataChannel
		queue   chan []byte
	}
	incoming := make(chan end, 1)
	two.OnDataChannel(func(channel *webrtc.DataChannel) {
		queue := inbox(channel)
		channel.OnOpen(func() { incoming <- end{channel, queue} })
	})
	offer := describe(one, func() (webrtc.SessionDescription, error) { return one.CreateOffer(nil) })
	check(two.SetRemoteDescription(offer))
	answer := describe(two, func() (webrtc.SessionDescription, error) { return two.CreateAnswer(nil) })
	check(one.SetRemoteDescription(answer))
	<-opened
	right := <-incoming
	there, back := exchange(left, right.queue), exchange(right.channel, fromRight)
	kinds := map[string]bool{}
	for _, found := range regexp.MustCompile(`a=candidate:.* typ (\w+)`).FindAllStringSubmatch(offer.SDP+answer.SDP, -1) {
		kinds[found[1]] = true
	}
	candidates := []string{}
	for kind := range kinds {
		candidates = append(candidates, kind)
	}
	sort.Strings(candidates)
	check(one.Close())
	check(two.Close())
	check(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"library": "pion webrtc 3", "candidates": candidates, "wanted": messages, "there": there, "back": back,
	}))
}
