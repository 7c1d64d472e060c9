module clientcheck

go 1.23.0

require cloud.google.com/go/auth v0.16.5

require (
	cloud.google.com/go/compute/metadata v0.8.0 // indirect
	github.com/googleapis/enterprise-certificate-proxy v0.3.6 // indirect
	github.com/googleapis/gax-go/v2 v2.15.0 // indirect
	golang.org/x/sys v0.35.0 // indirect
)
