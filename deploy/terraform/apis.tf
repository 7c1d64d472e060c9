resource "google_project_service" "apis" {
  for_each = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "compute.googleapis.com",
      "iam.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "sqladmin.googleapis.com",
    ],
    var.alert_email == null ? [] : ["monitoring.googleapis.com"],
    var.iap ? ["iap.googleapis.com"] : [],
  ))

  service = each.value
  # Others in the project may use them.
  disable_on_destroy = false
}
