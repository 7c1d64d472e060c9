resource "google_sql_database_instance" "this" {
  count = var.db_instance == "new" ? 1 : 0

  name                = local.db_instance_name
  region              = var.region
  database_version    = "POSTGRES_18"
  deletion_protection = var.db_deletion_protection

  settings {
    tier                        = var.db_tier
    edition                     = var.db_edition
    availability_type           = var.db_high_availability ? "REGIONAL" : "ZONAL"
    deletion_protection_enabled = var.db_deletion_protection

    backup_configuration {
      enabled                        = var.db_backups
      point_in_time_recovery_enabled = var.db_point_in_time_recovery
    }

    final_backup_config {
      enabled = var.db_final_backup
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    ip_configuration {
      ipv4_enabled = false
      # Refuses whoever does not encrypt. A certificate of the client is not asked for: the token is the proof.
      ssl_mode = "ENCRYPTED_ONLY"

      psc_config {
        psc_enabled               = true
        allowed_consumer_projects = distinct([var.project_id, local.network_project])
      }
    }
  }

  depends_on = [google_project_service.apis]
}

data "google_sql_database_instance" "existing" {
  count = var.db_instance == "existing" ? 1 : 0

  name = local.db_instance_name

  lifecycle {
    postcondition {
      condition     = self.psc_service_attachment_link != ""
      error_message = "The instance ${local.db_instance_name} has no service attachment: it needs Private Service Connect."
    }
  }

  depends_on = [google_project_service.apis]
}

locals {
  db_service_attachment = (
    var.db_instance == "new" ? google_sql_database_instance.this[0].psc_service_attachment_link
    : data.google_sql_database_instance.existing[0].psc_service_attachment_link
  )
  db_ca_certificate = (
    var.db_instance == "new" ? google_sql_database_instance.this[0].server_ca_cert[0].cert
    : data.google_sql_database_instance.existing[0].server_ca_cert[0].cert
  )
  # A name that is known only once the instance is there, so that whatever uses it waits for the instance.
  db_instance = (
    var.db_instance == "new" ? google_sql_database_instance.this[0].name
    : data.google_sql_database_instance.existing[0].name
  )
}

# ABANDON: Prefect's tables belong to the account, and Cloud SQL deletes no user that owns anything. The end of a new
# instance is the end of both; in an existing instance they are left, with Prefect's data.
resource "google_sql_database" "prefect" {
  name            = var.db_name
  instance        = local.db_instance
  deletion_policy = "ABANDON"
}

resource "google_sql_user" "server" {
  name            = local.db_iam_user
  instance        = local.db_instance
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  deletion_policy = "ABANDON"

  depends_on = [google_service_account.server]
}

# The certificate is public. Cloud Run can mount a file from Secret Manager, and from no simpler place.
resource "google_secret_manager_secret" "db_ca" {
  count = local.verify_ca ? 1 : 0

  secret_id = "${var.name}-db-ca"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "db_ca" {
  count = local.verify_ca ? 1 : 0

  secret      = google_secret_manager_secret.db_ca[0].id
  secret_data = local.db_ca_certificate
}
