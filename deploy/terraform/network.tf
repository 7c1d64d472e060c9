resource "google_compute_network" "this" {
  count = var.network == "new" ? 1 : 0

  name                    = local.psc_network_name
  auto_create_subnetworks = false

  depends_on = [google_project_service.apis]
}

resource "google_compute_subnetwork" "this" {
  count = var.network == "new" ? 1 : 0

  name          = local.subnet
  region        = var.region
  network       = google_compute_network.this[0].id
  ip_cidr_range = var.subnet_range
  # With access = internal the worker reaches the server by it.
  private_ip_google_access = true
}

locals {
  network_id = (
    var.network == "new" ? google_compute_network.this[0].id
    : "projects/${local.network_project}/global/networks/${local.psc_network_name}"
  )
  subnet_id = (
    var.network == "new" ? google_compute_subnetwork.this[0].id
    : "projects/${local.network_project}/regions/${var.region}/subnetworks/${local.subnet}"
  )
}

# The database's endpoint: an address in the subnet whose packets go to Cloud SQL's service attachment.
resource "google_compute_address" "db" {
  name         = local.db_address
  region       = var.region
  subnetwork   = local.subnet_id
  address_type = "INTERNAL"
  address      = var.db_ip

  depends_on = [google_project_service.apis]
}

resource "google_compute_forwarding_rule" "db" {
  name       = local.db_endpoint
  region     = var.region
  network    = local.network_id
  ip_address = google_compute_address.db.id
  target     = local.db_service_attachment
  # An endpoint of Private Service Connect has none.
  load_balancing_scheme = ""
}
