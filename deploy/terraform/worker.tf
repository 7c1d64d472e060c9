# The reasons for each value are in deploy/cloud_run/worker-pool.yaml, which describes the same pool.

resource "google_cloud_run_v2_worker_pool" "worker" {
  count = var.worker_count > 0 ? 1 : 0

  name                = local.worker_service
  location            = var.region
  deletion_protection = false

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = var.worker_count
  }

  template {
    service_account = google_service_account.worker.email

    vpc_access {
      # A service with internal ingress counts a request as internal when it comes through the network; then flows
      # reach the internet only by a Cloud NAT.
      egress = var.access == "internal" ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = local.network_id
        subnetwork = local.subnet_id
      }
    }

    containers {
      name  = "prefect-worker"
      image = local.worker_image

      resources {
        limits = {
          cpu    = var.worker_cpu
          memory = var.worker_memory
        }
      }

      dynamic "env" {
        for_each = merge(
          {
            PREFECT_API_URL = "${google_cloud_run_v2_service.server.uri}/api"
            WORK_POOL       = var.work_pool
          },
          var.worker_env,
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
            "PREFECT_API_AUTH_STRING" => { secret = local.auth_secret, version = version.version }
          },
          local.worker_secrets,
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

      startup_probe {
        http_get {
          path = "/livez"
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
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.worker,
    google_secret_manager_secret_iam_member.worker_auth,
  ]
}
