# The names that are derived from others, as deploy/cloud_run/settings.sh derives them.

data "google_project" "this" {
  project_id = var.project_id
}

locals {
  server_service   = coalesce(var.server_service, "${var.name}-server")
  worker_service   = coalesce(var.worker_service, "${var.name}-worker")
  repo_name        = coalesce(var.repo_name, "${var.name}-repo")
  db_instance_name = coalesce(var.db_instance_name, "${var.name}-db")
  db_user          = coalesce(var.db_user, "${var.name}-sa")
  worker_account   = coalesce(var.worker_account, "${var.name}-worker")
  grants_account   = coalesce(var.grants_account, "${var.name}-grants")
  psc_network_name = coalesce(var.psc_network_name, "${var.name}-network")
  subnet           = coalesce(var.subnet, "${var.name}-subnet")
  db_address       = coalesce(var.db_address, "${var.name}-db-ip")
  db_endpoint      = coalesce(var.db_endpoint, "${var.name}-db-endpoint")
  grants_job       = coalesce(var.grants_job, "${var.name}-grants")
  grants_secret    = coalesce(var.grants_secret, "${var.name}-grants-password")
  auth_secret      = coalesce(var.auth_secret, "${var.name}-auth")
  network_project  = coalesce(var.network_project, var.project_id)

  images       = "${var.region}-docker.pkg.dev/${var.project_id}/${local.repo_name}"
  server_image = coalesce(var.server_image, "${local.images}/prefect-server:${var.image_tag}")
  worker_image = coalesce(var.worker_image, "${local.images}/prefect-worker:${var.image_tag}")

  # Cloud SQL's name for the account.
  db_iam_user = "${local.db_user}@${var.project_id}.iam"
  # The deterministic address of a service; it is known before the service exists.
  ui_url = trimsuffix(coalesce(var.ui_url, "https://${local.server_service}-${data.google_project.this.number}.${var.region}.run.app"), "/")

  # What server_env and worker_env can't have: each is set by a variable of its own, or is the platform's.
  server_variables_of_the_module = [
    "DB_IP", "DB_NAME", "DB_SCHEMA", "DB_SSL", "DB_SSL_ROOT_CERT", "DB_USER", "K_CONFIGURATION", "K_REVISION", "K_SERVICE",
    "PORT", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_UI_URL", "SUPERVISOR_ROTATION", "SUPERVISOR_TOKEN_SCOPE",
  ]
  worker_variables_of_the_module = ["PORT", "PREFECT_API_AUTH_STRING", "PREFECT_API_URL", "WORK_POOL"]

  with_password = var.access != "public"
  verify_ca     = var.db_ssl == "verify-ca"
}
