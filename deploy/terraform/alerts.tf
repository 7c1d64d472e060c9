# The policies are the files that deploy/cloud_run/setup applies too.

locals {
  alert_files = var.alert_email == null ? [] : fileset("${path.module}/../cloud_run/alerts", "*.yaml")
  alerts = {
    for file in local.alert_files : trimsuffix(file, ".yaml") => yamldecode(templatefile(
      "${path.module}/../cloud_run/alerts/${file}",
      {
        NAME           = var.name
        SERVER_SERVICE = local.server_service
        PROJECT_ID     = var.project_id
        # Known only after the apply, so it is set below.
        NOTIFICATION_CHANNEL = ""
      }
    ))
  }
}

resource "google_monitoring_notification_channel" "email" {
  count = var.alert_email == null ? 0 : 1

  display_name = "${var.name}: ${var.alert_email}"
  type         = "email"
  labels = {
    email_address = var.alert_email
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "logs" {
  for_each = local.alerts

  display_name          = each.value.displayName
  combiner              = each.value.combiner
  severity              = each.value.severity
  notification_channels = [google_monitoring_notification_channel.email[0].name]

  documentation {
    content   = each.value.documentation.content
    mime_type = each.value.documentation.mimeType
  }

  dynamic "conditions" {
    for_each = each.value.conditions
    content {
      display_name = conditions.value.displayName
      condition_matched_log {
        filter = conditions.value.conditionMatchedLog.filter
      }
    }
  }

  alert_strategy {
    auto_close = each.value.alertStrategy.autoClose
    notification_rate_limit {
      period = each.value.alertStrategy.notificationRateLimit.period
    }
  }
}
