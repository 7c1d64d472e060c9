resource "google_artifact_registry_repository" "images" {
  repository_id = local.repo_name
  location      = var.region
  format        = "DOCKER"

  depends_on = [google_project_service.apis]
}
