# The settings of deploy/cloud_run in lower case, with the same defaults and the same rules; `yes` and `no` are true and
# false. Where the default is null, the name is derived from var.name, in names.tf.

variable "project_id" {
  description = "The project in which everything is created."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is a project's ID, 6 to 30 lower-case letters, digits and hyphens, and not its number or its title."
  }
}

variable "region" {
  description = "The region of all regional objects."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is the name of a region, such as us-central1."
  }
}

variable "name" {
  description = "The environment's name. Every name below begins with it unless it is set, so that two environments share nothing."
  type        = string
  default     = "prefect"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name has 2 to 20 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
}

variable "server_service" {
  description = "The Cloud Run service with Prefect Server (default: NAME-server)."
  type        = string
  default     = null

  validation {
    condition     = var.server_service == null || can(regex("^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$", var.server_service))
    error_message = "server_service has up to 49 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
}

variable "worker_service" {
  description = "The Cloud Run worker pool (default: NAME-worker)."
  type        = string
  default     = null

  validation {
    condition     = var.worker_service == null || can(regex("^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$", var.worker_service))
    error_message = "worker_service has up to 49 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
}

variable "repo_name" {
  description = "The repository of the images in Artifact Registry (default: NAME-repo)."
  type        = string
  default     = null

  validation {
    condition     = var.repo_name == null || can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.repo_name))
    error_message = "repo_name has up to 63 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
}

variable "db_instance_name" {
  description = "The Cloud SQL instance (default: NAME-db)."
  type        = string
  default     = null

  validation {
    condition     = var.db_instance_name == null || can(regex("^[a-z]([a-z0-9-]{0,82}[a-z0-9])?$", var.db_instance_name))
    error_message = "db_instance_name has up to 84 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
  validation {
    condition     = var.db_instance_name != null || var.db_instance != "existing"
    error_message = "db_instance = existing needs db_instance_name, so that no database is shared by accident."
  }
}

variable "db_name" {
  description = "The database in the instance."
  type        = string
  default     = "prefect"

  validation {
    condition     = can(regex("^[A-Za-z_][A-Za-z0-9_-]{0,62}$", var.db_name))
    error_message = "db_name has up to 63 letters, digits, underscores and hyphens."
  }
}

variable "db_schema" {
  description = "The schema of Prefect's tables. A schema other than public is created."
  type        = string
  default     = "public"

  validation {
    condition     = can(regex("^[a-z_][a-z0-9_]{0,62}$", var.db_schema))
    error_message = "db_schema has up to 63 lower-case letters, digits and underscores, and does not begin with a digit."
  }
}

variable "db_user" {
  description = "The service account of the server, which logs in to the database (default: NAME-sa)."
  type        = string
  default     = null

  validation {
    condition     = var.db_user == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.db_user))
    error_message = "db_user is a service account's ID: 6 to 30 lower-case letters, digits and hyphens, without @ and what follows."
  }
  validation {
    condition     = var.db_user != null || length("${var.name}-sa") >= 6
    error_message = "A service account's ID has 6 characters at least, so a name of 2 characters needs db_user, too."
  }
}

variable "worker_account" {
  description = "The service account of the worker and so of every flow (default: NAME-worker). It has no right in the database."
  type        = string
  default     = null

  validation {
    condition     = var.worker_account == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.worker_account))
    error_message = "worker_account is a service account's ID: 6 to 30 lower-case letters, digits and hyphens, without @ and what follows."
  }
}

variable "grants_account" {
  description = "The service account of the job that makes the grants in the database (default: NAME-grants)."
  type        = string
  default     = null

  validation {
    condition     = var.grants_account == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.grants_account))
    error_message = "grants_account is a service account's ID: 6 to 30 lower-case letters, digits and hyphens, without @ and what follows."
  }
}

variable "psc_network_name" {
  description = "The VPC network (default: NAME-network)."
  type        = string
  default     = null

  validation {
    condition     = var.psc_network_name == null || can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.psc_network_name))
    error_message = "psc_network_name has up to 63 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
  validation {
    condition     = var.psc_network_name != null || var.network == "new"
    error_message = "network = existing needs psc_network_name, since its default is only right for a new network."
  }
}

variable "subnet" {
  description = "The subnet of Cloud Run's network interfaces and of the database's endpoint (default: NAME-subnet)."
  type        = string
  default     = null

  validation {
    condition     = var.subnet == null || can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.subnet))
    error_message = "subnet has up to 63 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
  validation {
    condition     = var.subnet != null || var.network == "new"
    error_message = "network = existing needs subnet, since its default is only right for a new network."
  }
}

variable "subnet_range" {
  description = "The range of a new subnet. Cloud Run needs a /26 or a larger one."
  type        = string
  default     = "10.0.0.0/24"

  validation {
    condition     = can(cidrnetmask(var.subnet_range)) && try(contains(range(8, 27), tonumber(split("/", var.subnet_range)[1])), false)
    error_message = "subnet_range is an IPv4 range such as 10.0.0.0/24, with 8 to 26 after the slash."
  }
  validation {
    condition     = try(cidrhost(var.subnet_range, 0) == split("/", var.subnet_range)[0], true)
    error_message = "subnet_range has bits outside its prefix; write its first address, such as 10.0.0.0/24."
  }
}

variable "db_address" {
  description = "The reserved address of the database's endpoint (default: NAME-db-ip)."
  type        = string
  default     = null

  validation {
    condition     = var.db_address == null || can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.db_address))
    error_message = "db_address is the name of the address, with up to 63 lower-case letters, digits and hyphens; db_ip is the address itself."
  }
}

variable "db_ip" {
  description = "The address of the database's endpoint in the subnet."
  type        = string
  default     = "10.0.0.5"

  validation {
    condition     = can(cidrhost("${var.db_ip}/32", 0))
    error_message = "db_ip is an IPv4 address, such as 10.0.0.5."
  }
  validation {
    # A range that is none is refused by its own rule. Google keeps the first two and the last two addresses.
    condition = (
      var.network == "existing" || !can(cidrhost(var.subnet_range, 0)) || !can(cidrhost("${var.db_ip}/32", 0)) ? true :
      cidrhost("${var.db_ip}/${split("/", var.subnet_range)[1]}", 0) == cidrhost(var.subnet_range, 0)
      && !contains([for n in [0, 1, -2, -1] : cidrhost(var.subnet_range, n)], var.db_ip)
    )
    error_message = "db_ip must be a free address inside subnet_range; Google keeps the first two and the last two."
  }
}

variable "db_endpoint" {
  description = "The forwarding rule that is the database's endpoint (default: NAME-db-endpoint)."
  type        = string
  default     = null

  validation {
    condition     = var.db_endpoint == null || can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.db_endpoint))
    error_message = "db_endpoint has up to 63 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
}

variable "grants_job" {
  description = "The Cloud Run job that makes the grants in the database (default: NAME-grants)."
  type        = string
  default     = null

  validation {
    condition     = var.grants_job == null || can(regex("^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$", var.grants_job))
    error_message = "grants_job has up to 49 lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen."
  }
}

variable "grants_secret" {
  description = "The secret with that job's password, which is worthless once the job has run (default: NAME-grants-password)."
  type        = string
  default     = null

  validation {
    condition     = var.grants_secret == null || can(regex("^[A-Za-z0-9_-]{1,255}$", var.grants_secret))
    error_message = "grants_secret has up to 255 letters, digits, hyphens and underscores."
  }
}

variable "network" {
  description = "new: the network and the subnet are created. existing: they are used and left alone."
  type        = string
  default     = "new"

  validation {
    condition     = contains(["new", "existing"], var.network)
    error_message = "network is either new or existing."
  }
}

variable "network_project" {
  description = "The project of an existing network (default: project_id). Another one is the host project of a Shared VPC."
  type        = string
  default     = null

  validation {
    condition     = var.network_project == null || var.network_project == var.project_id || var.network == "existing"
    error_message = "network_project names another project, a Shared VPC, and that needs network = existing."
  }
}

variable "db_instance" {
  description = "new: the instance is created. existing: only the database, its users and their grants are added to it."
  type        = string
  default     = "new"

  validation {
    condition     = contains(["new", "existing"], var.db_instance)
    error_message = "db_instance is either new or existing; db_instance_name is its name."
  }
}

variable "db_tier" {
  description = "The machine of the instance."
  type        = string
  default     = "db-f1-micro"

  validation {
    condition     = can(regex("^db-[a-z0-9-]+$", var.db_tier))
    error_message = "db_tier is the name of a machine of Cloud SQL, such as db-f1-micro or db-custom-2-7680."
  }
  validation {
    condition     = var.db_edition != "ENTERPRISE_PLUS" || !can(regex("^db-(f1-micro|g1-small|custom-)", var.db_tier))
    error_message = "db_tier is one that ENTERPRISE_PLUS does not have; it is such as db-perf-optimized-N-2."
  }
  validation {
    condition     = var.db_edition != "ENTERPRISE" || !startswith(var.db_tier, "db-perf-optimized-")
    error_message = "db_tier is one that needs db_edition = ENTERPRISE_PLUS."
  }
}

variable "db_edition" {
  description = "The edition of the instance."
  type        = string
  default     = "ENTERPRISE"

  validation {
    condition     = contains(["ENTERPRISE", "ENTERPRISE_PLUS"], var.db_edition)
    error_message = "db_edition is either ENTERPRISE or ENTERPRISE_PLUS."
  }
}

variable "db_high_availability" {
  description = "A standby in a second zone."
  type        = bool
  default     = false

  validation {
    condition     = !var.db_high_availability || var.db_backups
    error_message = "db_high_availability needs db_backups."
  }
}

variable "db_backups" {
  description = "Daily backups."
  type        = bool
  default     = true
}

variable "db_point_in_time_recovery" {
  description = "The log is kept too, so that any moment of the last days can be restored."
  type        = bool
  default     = false

  validation {
    condition     = !var.db_point_in_time_recovery || var.db_backups
    error_message = "db_point_in_time_recovery needs db_backups."
  }
}

variable "db_deletion_protection" {
  description = "Google and Terraform refuse to delete the instance."
  type        = bool
  default     = false
}

variable "db_final_backup" {
  description = "A last backup is made when the instance is deleted."
  type        = bool
  default     = false
}

variable "db_ssl" {
  description = "require: encrypts. verify-ca: also checks the instance's certificate."
  type        = string
  default     = "require"

  validation {
    condition     = contains(["require", "verify-ca"], var.db_ssl)
    error_message = "db_ssl is either require or verify-ca."
  }
}

variable "access" {
  description = "password: Prefect's basic authentication. public: none. internal: from the network only, with the password."
  type        = string
  default     = "password"

  validation {
    condition     = contains(["password", "public", "internal"], var.access)
    error_message = "access is password, public or internal."
  }
}

variable "auth_secret" {
  description = "The secret with the string admin:RANDOM of Prefect's basic authentication (default: NAME-auth)."
  type        = string
  default     = null

  validation {
    condition     = var.auth_secret == null || can(regex("^[A-Za-z0-9_-]{1,255}$", var.auth_secret))
    error_message = "auth_secret has up to 255 letters, digits, hyphens and underscores."
  }
}

variable "iap" {
  description = "Identity-Aware Proxy in front of the service. Workers can't pass it, so worker_count must be 0."
  type        = bool
  default     = false

  validation {
    # IAP reads the header that has Prefect's password in it.
    condition     = !var.iap || var.access == "public"
    error_message = "iap needs access = public: IAP is the login then, in place of the password."
  }
  validation {
    condition     = !var.iap || var.worker_count == 0
    error_message = "iap needs worker_count = 0: a worker sends no identity token of IAP, so it would not reach the server."
  }
}

variable "ui_url" {
  description = "The address of the UI in notifications (default: the service's own address), for example of a custom domain."
  type        = string
  default     = null

  validation {
    condition     = var.ui_url == null || can(regex("^https://[^ /'\"]+(/[^ '\"]*)?$", var.ui_url))
    error_message = "ui_url is an address such as https://prefect.example.com."
  }
}

variable "image_tag" {
  description = "The tag of both images in the repository; not used for an image that is named by server_image or worker_image."
  type        = string
  default     = "v1"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag))
    error_message = "image_tag has up to 128 letters, digits, underscores, periods and hyphens."
  }
}

variable "server_cpu" {
  description = "vCPUs of the server."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "6", "8"], var.server_cpu)
    error_message = "server_cpu is 1, 2, 4, 6 or 8."
  }
}

variable "server_memory" {
  description = "Memory of the server."
  type        = string
  default     = "1Gi"

  validation {
    condition     = can(regex("^([1-9][0-9]{0,4}Gi|(51[2-9]|5[2-9][0-9]|[6-9][0-9]{2}|[1-9][0-9]{3,4})Mi)$", var.server_memory))
    error_message = "server_memory is an amount such as 512Mi or 2Gi, and 512Mi or more."
  }
}

variable "worker_cpu" {
  description = "vCPUs of the worker, which its flows share."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "6", "8"], var.worker_cpu)
    error_message = "worker_cpu is 1, 2, 4, 6 or 8."
  }
}

variable "worker_memory" {
  description = "Memory of the worker, which its flows share."
  type        = string
  default     = "1Gi"

  validation {
    condition     = can(regex("^([1-9][0-9]{0,4}Gi|(51[2-9]|5[2-9][0-9]|[6-9][0-9]{2}|[1-9][0-9]{3,4})Mi)$", var.worker_memory))
    error_message = "worker_memory is an amount such as 512Mi or 2Gi, and 512Mi or more."
  }
}

variable "worker_count" {
  description = "Instances of the worker. With 0 there is no worker pool."
  type        = number
  default     = 1

  validation {
    condition     = var.worker_count >= 0 && floor(var.worker_count) == var.worker_count
    error_message = "worker_count is a whole number from 0 on."
  }
}

variable "work_pool" {
  description = "Prefect's work pool that the worker serves."
  type        = string
  default     = "cloud-run-pool"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*$", var.work_pool))
    error_message = "work_pool has letters, digits, periods, underscores and hyphens."
  }
}

variable "server_env" {
  description = "Extra variables of the server, by name."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.server_env) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "server_env has names of letters, digits and underscores."
  }
  validation {
    condition     = length(setintersection(keys(var.server_env), keys(var.server_secrets))) == 0
    error_message = "server_env and server_secrets have a variable in common."
  }
  validation {
    condition     = length(setintersection(keys(var.server_env), local.server_variables_of_the_module)) == 0
    error_message = "server_env has a variable that the module itself sets; other variables of the module are for that."
  }
}

variable "worker_env" {
  description = "Extra variables of the worker, by name."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.worker_env) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "worker_env has names of letters, digits and underscores."
  }
  validation {
    condition     = length(setintersection(keys(var.worker_env), keys(var.worker_secrets))) == 0
    error_message = "worker_env and worker_secrets have a variable in common."
  }
  validation {
    condition     = length(setintersection(keys(var.worker_env), local.worker_variables_of_the_module)) == 0
    error_message = "worker_env has a variable that the module itself sets; other variables of the module are for that."
  }
}

variable "server_secrets" {
  description = "Extra variables of the server from Secret Manager: the variable's name, and SECRET or SECRET:VERSION."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for secret in values(var.server_secrets) : can(regex("^[A-Za-z0-9_-]{1,255}(:(latest|[1-9][0-9]*))?$", secret))])
    error_message = "server_secrets has values of the form SECRET or SECRET:VERSION."
  }
}

variable "worker_secrets" {
  description = "Extra variables of the worker from Secret Manager: the variable's name, and SECRET or SECRET:VERSION."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for secret in values(var.worker_secrets) : can(regex("^[A-Za-z0-9_-]{1,255}(:(latest|[1-9][0-9]*))?$", secret))])
    error_message = "worker_secrets has values of the form SECRET or SECRET:VERSION."
  }
}

variable "alert_email" {
  description = "The address to which the alerts of deploy/cloud_run/alerts are sent. Without it there are no alerts."
  type        = string
  default     = null

  validation {
    condition     = var.alert_email == null || can(regex("^[^@ ,]+@[^@ ,]+\\.[^@ ,]+$", var.alert_email))
    error_message = "alert_email is an address such as team@example.com."
  }
}

# From here on: what only Terraform needs.

variable "server_image" {
  description = "The server's image, best by digest (default: prefect-server with image_tag in the repository)."
  type        = string
  default     = null
}

variable "worker_image" {
  description = "The worker's image, best by digest (default: prefect-worker with image_tag in the repository)."
  type        = string
  default     = null
}

variable "iap_members" {
  description = "Who may pass IAP, such as group:data@example.com."
  type        = set(string)
  default     = []
}

variable "auth_version" {
  description = "A higher number makes a new password of Prefect's basic authentication."
  type        = number
  default     = 1
}

variable "grants_version" {
  description = "A higher number makes the grants in the database once more, for example after a restored backup."
  type        = number
  default     = 1
}
