# The rights of the server's account in the database. Only an administrator can grant them, and only from inside the
# network, so a job does it: as a user of its own, whose password the job itself removes at its end. The user postgres
# is left as it is.

locals {
  # The job runs again, with a new password, whenever one of these changes. 28 bits fit into every integer.
  grants_number = parseint(substr(sha256(jsonencode([
    local.db_instance_name, var.db_name, var.db_schema, local.db_iam_user, var.grants_version
  ])), 0, 7), 16)
  grants_manifest = yamldecode(file("${path.module}/../cloud_run/grants-job.yaml"))
  grants_psql     = local.grants_manifest.spec.template.spec.template.spec.containers[0]
}

ephemeral "random_password" "grants" {
  length  = 32
  special = false
}

resource "google_secret_manager_secret" "grants" {
  secret_id = local.grants_secret

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "grants" {
  secret                 = google_secret_manager_secret.grants.id
  secret_data_wo         = ephemeral.random_password.grants.result
  secret_data_wo_version = local.grants_number
}

# Read back, so that the user has the secret's password even if an apply ended between the two.
ephemeral "google_secret_manager_secret_version" "grants" {
  secret  = google_secret_manager_secret.grants.secret_id
  version = google_secret_manager_secret_version.grants.version
}

resource "google_sql_user" "grants" {
  name     = "${var.name}-grants"
  instance = local.db_instance
  # The job's SQL takes this role on.
  database_roles      = ["cloudsqlsuperuser"]
  password_wo         = ephemeral.google_secret_manager_secret_version.grants.secret_data
  password_wo_version = local.grants_number
}

resource "google_cloud_run_v2_job" "grants" {
  name                = local.grants_job
  location            = var.region
  deletion_protection = false
  # The apply waits until an execution with this name has succeeded.
  run_execution_token = format("%07x", local.grants_number)

  template {
    template {
      service_account = google_service_account.grants.email
      # All or nothing, and once.
      max_retries = 0
      timeout     = "300s"

      containers {
        name    = local.grants_psql.name
        image   = local.grants_psql.image
        command = local.grants_psql.command
        args    = local.grants_psql.args

        dynamic "env" {
          for_each = merge(
            {
              PGHOST            = var.db_ip
              PGDATABASE        = google_sql_database.prefect.name
              PGUSER            = google_sql_user.grants.name
              PGSSLMODE         = var.db_ssl
              PGCONNECT_TIMEOUT = "10"
              IAM_USER          = google_sql_user.server.name
              DB_SCHEMA         = var.db_schema
            },
            local.verify_ca ? { PGSSLROOTCERT = local.db_ca_path } : {},
          )
          content {
            name  = env.key
            value = env.value
          }
        }

        env {
          name = "PGPASSWORD"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.grants.secret_id
              version = google_secret_manager_secret_version.grants.version
            }
          }
        }

        dynamic "volume_mounts" {
          for_each = local.verify_ca ? [dirname(local.db_ca_path)] : []
          content {
            name       = "db-ca"
            mount_path = volume_mounts.value
          }
        }
      }

      dynamic "volumes" {
        for_each = google_secret_manager_secret_version.db_ca
        content {
          name = "db-ca"
          secret {
            secret = google_secret_manager_secret.db_ca[0].secret_id
            items {
              path    = basename(local.db_ca_path)
              version = volumes.value.version
            }
          }
        }
      }

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = local.network_id
          subnetwork = local.subnet_id
        }
      }
    }
  }

  depends_on = [
    google_compute_forwarding_rule.db,
    google_secret_manager_secret_iam_member.grants_password,
    google_secret_manager_secret_iam_member.grants_db_ca,
  ]
}
