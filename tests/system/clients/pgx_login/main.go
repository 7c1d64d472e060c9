// Command pgxlogin logs in to PostgreSQL with pgx, which takes everything from the PG* environment variables, and
// prints the current user of the session. Without PGPASSWORD, pgx reads the password from the file PGPASSFILE
// (pgconn.ParseConfig), once for each connection that is configured.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pgxlogin:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	var user string
	if err := connection.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil {
		return err
	}
	_, err = fmt.Println(user)
	return err
}
