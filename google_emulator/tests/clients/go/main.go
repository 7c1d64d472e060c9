// Command clientcheck asks for a token the way a Go program on Google Cloud does, and prints it as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"cloud.google.com/go/auth/credentials"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "no token:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found, err := credentials.DetectDefault(&credentials.DetectOptions{
		Scopes: []string{"https://www.googleapis.com/auth/sqlservice.login"},
	})
	if err != nil {
		return err
	}
	token, err := found.Token(ctx)
	if err != nil {
		return err
	}
	project, err := found.ProjectID(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"token":      token.Value,
		"expires_in": time.Until(token.Expiry).Seconds(),
		"project":    project,
	})
}
