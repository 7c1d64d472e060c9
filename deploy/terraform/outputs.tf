output "server_url" {
  description = "The UI's address; /api below it is Prefect's API."
  value       = google_cloud_run_v2_service.server.uri
}

output "ui_url" {
  description = "The address that notifications name."
  value       = local.ui_url
}

output "images" {
  description = "Where the images belong: prefect-server and prefect-worker below it."
  value       = local.images
}

output "auth_command" {
  description = "Prints the name and the password of Prefect's basic authentication, admin:PASSWORD."
  value = local.with_password ? join(" ", [
    "gcloud secrets versions access latest --secret=${local.auth_secret} --project=${var.project_id}"
  ]) : null
}

output "service_accounts" {
  description = "The three accounts: a flow's rights in Google Cloud belong to the worker's."
  value = {
    server = google_service_account.server.email
    worker = google_service_account.worker.email
    grants = google_service_account.grants.email
  }
}

output "db_instance" {
  description = "The Cloud SQL instance as PROJECT:REGION:INSTANCE."
  value       = "${var.project_id}:${var.region}:${local.db_instance_name}"
}
