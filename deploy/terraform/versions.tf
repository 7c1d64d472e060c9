terraform {
  # Ephemeral resources and write-only arguments, which keep passwords out of the state, need 1.11.
  required_version = ">= 1.11.0"

  required_providers {
    google = {
      source = "hashicorp/google"
      # The version against whose schema this module is tested; run_execution_token of jobs is newer than most of 7.
      version = "~> 7.45"
    }
    random = {
      source = "hashicorp/random"
      # The first version with an ephemeral random_password.
      version = "~> 3.7"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
}
