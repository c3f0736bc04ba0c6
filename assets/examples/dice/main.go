// Dice answers "roll 2d6". Build it with: go build -o dice main.go
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
)

func main() {
	var message struct {
		Text string `json:"text"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&message); err != nil {
		log.Fatal(err) // standard error and an exit status other than 0: it is in perch log
	}
	var dice, sides int
	if n, _ := fmt.Sscanf(message.Text, "roll %dd%d", &dice, &sides); n < 2 {
		return // nothing printed, nothing answered
	}
	if dice < 1 || dice > 100 || sides < 1 || sides > 1000 {
		fmt.Println("At most 100 dice of at most 1000 sides, please.")
		return
	}
	sum := 0
	for range dice {
		sum += 1 + rand.IntN(sides)
	}
	fmt.Printf("%dd%d: **%d**\n", dice, sides, sum)
}
