# The reasons for each value are in deploy/cloud_run/service.yaml, which describes the same service.

locals {
  db_ca_path = "/etc/db-ca/server-ca.pem"

  # Prefect opens up to 5 + 10 connections by default, and two more beside its pool. During a rollout two servers run, and
  # db-f1-micro has 25. A larger tier allows more: set these in server_env.
  connections = {
    PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE    = "5"
    PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW = "0"
  }
}

resource "google_cloud_run_v2_service" "server" {
  name                = local.server_service
  location            = var.region
  deletion_protection = false
  ingress             = var.access == "internal" ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
  # Prefect's own password is what is checked, or IAP is. A binding of allUsers, the other way, is refused in organisations that
  # restrict members by domain.
  invoker_iam_disabled = !var.iap
  iap_enabled          = var.iap

  # Prefect's scheduler works between requests, and two servers would repeat its work.
  scaling {
    min_instance_count = 1
    max_instance_count = 1
  }

  template {
    service_account                  = google_service_account.server.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = 1000
    timeout                          = "3600s"

    scaling {
      max_instance_count = 1
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = local.network_id
        subnetwork = local.subnet_id
      }
    }

    containers {
      name  = "prefect-server"
      image = local.server_image

      ports {
        container_port = 8080
      }

      resources {
        limits = {
          cpu    = var.server_cpu
          memory = var.server_memory
        }
        cpu_idle          = false
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(
          local.connections,
          {
            DB_USER                = google_sql_user.server.name
            DB_IP                  = google_compute_address.db.address
            DB_NAME                = google_sql_database.prefect.name
            DB_SCHEMA              = var.db_schema
            DB_SSL                 = var.db_ssl
            SUPERVISOR_TOKEN_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"
            SUPERVISOR_ROTATION    = "in-place"
            PREFECT_UI_URL         = local.ui_url
          },
          local.verify_ca ? { DB_SSL_ROOT_CERT = local.db_ca_path } : {},
          var.server_env,
        )
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = merge(
          {
            for version in google_secret_manager_secret_version.auth :
            "PREFECT_SERVER_API_AUTH_STRING" => { secret = local.auth_secret, version = version.version }
          },
          local.server_secrets,
        )
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
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

      startup_probe {
        http_get {
          path = "/startupz"
          port = 8081
        }
        period_seconds    = 5
        timeout_seconds   = 3
        failure_threshold = 48
      }

      liveness_probe {
        http_get {
          path = "/livez"
          port = 8081
        }
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 6
      }

      readiness_probe {
        http_get {
          path = "/readyz"
          port = 8081
        }
        period_seconds    = 5
        timeout_seconds   = 3
        failure_threshold = 2
        success_threshold = 1
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
  }

  depends_on = [
    google_cloud_run_v2_job.grants,
    google_project_iam_member.login,
    google_secret_manager_secret_iam_member.server,
    google_secret_manager_secret_iam_member.server_auth,
    google_secret_manager_secret_iam_member.server_db_ca,
  ]
}

# Behind IAP only IAP itself calls the service.
resource "google_cloud_run_v2_service_iam_member" "iap" {
  count = var.iap ? 1 : 0

  name     = google_cloud_run_v2_service.server.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-iap.iam.gserviceaccount.com"
}

resource "google_iap_web_cloud_run_service_iam_member" "users" {
  for_each = var.iap ? var.iap_members : []

  cloud_run_service_name = google_cloud_run_v2_service.server.name
  location               = var.region
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}
