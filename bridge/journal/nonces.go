package journal

import (
	"crypto/sha256"
	"encoding/binary"

	"perch/bridge"
)

// maxNonces bounds how many nonces are remembered, the newest, and
// maxLoadedNonces how many of those after a restart. It need not be all: whoever
// repeats an old request repeats its message id too, and those are remembered
// for ever. An index of all nonces would cost every commit a page per message.
const (
	maxNonces       = 1 << 16
	maxLoadedNonces = 1 << 13
)

// nonces are the randoms of the newest webhooks. Only the writer uses it.
type nonces struct {
	seen map[int64]uint64 // hash of the nonce → hash of the message's key, 0 if it is not known
	ring []int64          // in the order of arrival, from oldest on, once it is full
	next int
}

// usedBy reports whether another message than this one came with the nonce.
func (n *nonces) usedBy(nonce int64, other uint64) bool {
	key, ok := n.seen[nonce]
	return ok && key != other
}

// add remembers a nonce, and forgets the oldest if there are too many.
func (n *nonces) add(nonce int64, key uint64) {
	if n.seen == nil {
		n.seen = make(map[int64]uint64)
	}
	if _, ok := n.seen[nonce]; ok {
		return
	}
	n.seen[nonce] = key
	if len(n.ring) < maxNonces {
		n.ring = append(n.ring, nonce)
		return
	}
	delete(n.seen, n.ring[n.next])
	n.ring[n.next] = nonce
	n.next = (n.next + 1) % maxNonces
}

func hashNonce(nonce string) int64 {
	sum := sha256.Sum256([]byte(nonce))
	return int64(binary.LittleEndian.Uint64(sum[:])) //nolint:gosec // 64 bits, whatever their sign
}

func hashKey(k bridge.Key) uint64 {
	sum := sha256.Sum256([]byte(k.Server + "\n" + k.Room + "\n" + k.ID))
	return binary.LittleEndian.Uint64(sum[:])
}
