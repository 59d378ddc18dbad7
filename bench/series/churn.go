// Makes garbage, keeps some of it, and grows: churn LIVE_MIB GARBAGE_MIB_A_SECOND LEAK_KIB_A_SECOND.
package main

import (
	"os"
	"strconv"
	"time"
)

const (
	block = 16 * 1024
	turns = 20
)

var leaked [][]byte

func number(index int) int {
	value, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return value
}

func touched(size int) []byte {
	memory := make([]byte, size)
	for at := 0; at < size; at += 4096 {
		memory[at] = 1
	}
	return memory
}

func main() {
	ring := make([][]byte, max(number(1)*1024*1024/block, 1))
	garbage := number(2) * 1024 * 1024 / block / turns
	leak := number(3) * 1024 / turns
	for next := 0; ; {
		for range garbage {
			next = (next + 1) % len(ring)
			ring[next] = touched(block)
		}
		leaked = append(leaked, touched(leak))
		time.Sleep(time.Second / turns)
	}
}
