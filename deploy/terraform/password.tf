# The string of Prefect's basic authentication. It is ephemeral and written by a write-only argument, so it is in
# neither the plan nor the state; a higher auth_version writes another one.

ephemeral "random_password" "auth" {
  length  = 32
  special = false
}

resource "google_secret_manager_secret" "auth" {
  count = local.with_password ? 1 : 0

  secret_id = local.auth_secret

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "auth" {
  count = local.with_password ? 1 : 0

  secret                 = google_secret_manager_secret.auth[0].id
  secret_data_wo         = "admin:${ephemeral.random_password.auth.result}"
  secret_data_wo_version = var.auth_version
}
