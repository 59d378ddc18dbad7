"""Every name that people and programs see, said once. Standard library only: the agent imports it."""

from enum import StrEnum
from pathlib import Path

GROUP = "oomsayer.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "oomsayer"
"""`kubectl get oomsayer` lists all three kinds."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts a pod's token, the API server's certificate, and the pod's namespace."""
JSON_PATCH = "application/json-patch+json"
"""The media type of RFC 6902."""

REPORT_KIND = "NodeMemoryReport"
REPORT_PLURAL = "nodememoryreports"
REPORT_SHORT = "nmr"
FORECAST_KIND = "OOMForecast"
FORECAST_PLURAL = "oomforecasts"
FORECAST_SHORT = "oomf"
POLICY_KIND = "OOMPolicy"
POLICY_PLURAL = "oompolicies"
POLICY_SHORT = "oomp"

REPORT_SCHEMA_VERSION = 1
"""NodeMemoryReport.status.schemaVersion: rises when a reader of the old form would misread the new one."""


class Annotation(StrEnum):
    """Keys on a pod at risk, all removed when the risk ends. Their values hold nothing that fluctuates."""

    RISK = f"{GROUP}/oom-risk"
    """The OOM domain that is near its limit, as people read it: "container shop/cart-0/redis"."""
    VICTIM = f"{GROUP}/oom-victim"
    """Who is taken there: "CONTAINER/PROCESS"."""
    SINCE = f"{GROUP}/oom-risk-since"
    """When the risk began, RFC 3339 in UTC."""


class EventReason(StrEnum):
    """Why an Event was written, in the form of the ecosystem: CamelCase."""

    RISK = "OOMRisk"
    """Warning on a pod: the next OOM of a domain near its limit takes a process of this pod."""
    NODE_RISK = "NodeOOMRisk"
    """Warning on a Node: the node itself is near its OOM, or a process outside any pod is the next victim."""
    EVICTION_RISK = "EvictionRisk"
    """Warning on the pod that the kubelet would evict next: the node is near the kubelet's threshold."""
    PRIORITY_INVERSION = "OOMPriorityInversion"
    """Warning on a pod of a node near its OOM or eviction: the kernel would take it, while the kubelet would
    evict one of lower priority."""
    RISK_ENDED = "OOMRiskEnded"
    """Normal, on the object of the warning that it ends."""
    KILL = "OOMKillObserved"
    """Warning on the pod of a process that the OOM killer took, or on the Node for one outside any pod."""


EVENT_ACTION = "Forecasting"
REPORTING_CONTROLLER = f"{GROUP}/operator"
"""Events' reportingController; reportingInstance is the operator's pod name."""


class Condition(StrEnum):
    """Types of status conditions."""

    READY = "Ready"
    """Of an OOMForecast: the report behind it is fresh and was understood."""
    AT_RISK = "AtRisk"
    """Of an OOMForecast: some domain's headroom or time to OOM is under its policy's threshold."""
    HISTORY = "History"
    """Of an OOMForecast, where a Prometheus is configured: it tells of the time before the agent watched."""
    ACCEPTED = "Accepted"
    """Of an OOMPolicy: the operator follows it, for some of its namespaces at least."""


class ConditionReason(StrEnum):
    """Reasons of status conditions."""

    FRESH = "ReportFresh"
    STALE = "ReportStale"
    UNKNOWN_SCHEMA = "ReportSchemaUnknown"
    INVALID_REPORT = "ReportInvalid"
    UNDER_THRESHOLD = "UnderThreshold"
    ENOUGH_HEADROOM = "EnoughHeadroom"
    PROMETHEUS_ANSWERS = "PrometheusAnswers"
    PROMETHEUS_FAILS = "PrometheusFails"
    VALID = "Valid"
    INVALID_POLICY = "Invalid"
    CONFLICT = "Conflict"


LEASE_NAME = "oomsayer-operator"
"""The Lease that the writing operator holds; the chart's Role names it."""


class AgentMetric(StrEnum):
    """What the agent exposes."""

    BUILD_INFO = "oomsayer_agent_build_info"
    SAMPLES = "oomsayer_agent_samples_total"
    SAMPLE_DURATION = "oomsayer_agent_sample_duration_seconds"
    LAST_SAMPLE = "oomsayer_agent_last_sample_timestamp_seconds"
    PROCESSES = "oomsayer_agent_processes"
    DOMAINS = "oomsayer_agent_domains"
    DOMAINS_NEAR = "oomsayer_agent_domains_near_limit"
    NODE_HEADROOM = "oomsayer_agent_node_headroom_bytes"
    CHECKED = "oomsayer_agent_self_checked_processes"
    MISMATCHES = "oomsayer_agent_self_check_mismatches"
    GAPS = "oomsayer_agent_gaps"
    KILLS = "oomsayer_agent_kills_total"
    REPORTS = "oomsayer_agent_reports_total"
    REPORT_SIZE = "oomsayer_agent_report_size_bytes"
    OMITTED_DOMAINS = "oomsayer_agent_report_omitted_domains"
    LAST_REPORT = "oomsayer_agent_last_report_timestamp_seconds"


class OperatorMetric(StrEnum):
    """What the operator exposes."""

    BUILD_INFO = "oomsayer_operator_build_info"
    LEADER = "oomsayer_operator_leader"
    REPORTS = "oomsayer_operator_reports_total"
    RECONCILE_DURATION = "oomsayer_operator_reconcile_duration_seconds"
    EVENTS = "oomsayer_operator_events_total"
    HEADROOM = "oomsayer_forecast_headroom_bytes"
    OOM_TIME = "oomsayer_forecast_oom_timestamp_seconds"
    MARGIN = "oomsayer_forecast_margin_bytes"
    VICTIM = "oomsayer_forecast_victim_info"
    SAMPLE_TIME = "oomsayer_forecast_sample_timestamp_seconds"
    RISKS = "oomsayer_forecast_risks"
    KILLS = "oomsayer_forecast_kills_total"
    MISSES = "oomsayer_forecast_misses_total"
    WARNED = "oomsayer_forecast_warned_kills_total"
    API_FAILURES = "oomsayer_operator_api_failures_total"
    QUEUE_LENGTH = "oomsayer_operator_queue_length"
