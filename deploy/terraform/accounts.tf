# Three accounts, each with what it needs and nothing else: the server logs in to one database instance, the worker and
# its flows have no right in the database, and the grants job reads one password.

resource "google_service_account" "server" {
  account_id   = local.db_user
  display_name = "Prefect Server of ${var.name}"

  depends_on = [google_project_service.apis]
}

resource "google_service_account" "worker" {
  account_id   = local.worker_account
  display_name = "Prefect worker of ${var.name}"

  depends_on = [google_project_service.apis]
}

resource "google_service_account" "grants" {
  account_id   = local.grants_account
  display_name = "Grants in the database of ${var.name}"

  depends_on = [google_project_service.apis]
}

# Without the condition the account could log in to every instance of the project.
resource "google_project_iam_member" "login" {
  project = var.project_id
  role    = "roles/cloudsql.instanceUser"
  member  = google_service_account.server.member

  condition {
    title = "${var.name}-instance"
    expression = join(" && ", [
      "resource.name == 'projects/${var.project_id}/instances/${local.db_instance_name}'",
      "resource.type == 'sqladmin.googleapis.com/Instance'",
    ])
  }
}

locals {
  # SECRET or SECRET:VERSION.
  server_secrets = {
    for variable, secret in var.server_secrets :
    variable => { secret = split(":", secret)[0], version = try(split(":", secret)[1], "latest") }
  }
  worker_secrets = {
    for variable, secret in var.worker_secrets :
    variable => { secret = split(":", secret)[0], version = try(split(":", secret)[1], "latest") }
  }
}

resource "google_secret_manager_secret_iam_member" "server" {
  for_each = toset([for secret in values(local.server_secrets) : secret.secret])

  project   = var.project_id
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.server.member
}

resource "google_secret_manager_secret_iam_member" "worker" {
  for_each = toset([for secret in values(local.worker_secrets) : secret.secret])

  project   = var.project_id
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.worker.member
}

resource "google_secret_manager_secret_iam_member" "server_auth" {
  count = local.with_password ? 1 : 0

  secret_id = google_secret_manager_secret.auth[0].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.server.member
}

resource "google_secret_manager_secret_iam_member" "worker_auth" {
  count = local.with_password ? 1 : 0

  secret_id = google_secret_manager_secret.auth[0].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.worker.member
}

resource "google_secret_manager_secret_iam_member" "server_db_ca" {
  count = local.verify_ca ? 1 : 0

  secret_id = google_secret_manager_secret.db_ca[0].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.server.member
}

resource "google_secret_manager_secret_iam_member" "grants_db_ca" {
  count = local.verify_ca ? 1 : 0

  secret_id = google_secret_manager_secret.db_ca[0].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.grants.member
}

resource "google_secret_manager_secret_iam_member" "grants_password" {
  secret_id = google_secret_manager_secret.grants.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.grants.member
}
