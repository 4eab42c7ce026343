//! What is asked of Prometheus: each question that more than one panel has, once.
//!
//! Every expression aggregates by what identifies a thing, never by `instance` or `job`: an account may move to another shard, a restart may change its
//! instance, and for the minute in which Prometheus still shows both, nothing is to be counted twice.

/** What identifies an account, a target, a connection. */
export const ACCOUNT = "system, account";
export const TARGET = `${ACCOUNT}, target`;
export const CONNECTION = `${TARGET}, connection, connection_type`;

const ofAccount = 'system=~"$system",account=~"$account"';
const ofTarget = `${ofAccount},target=~"$target"`;
const also = (more: string) => (more ? `,${more}` : "");

/** A metric of accounts, as the variables narrow it. */
export const account = (metric: string, more = "") => `${metric}{${ofAccount}${also(more)}}`;
/** A metric of targets, as the variables narrow it. */
export const target = (metric: string, more = "") => `${metric}{${ofTarget}${also(more)}}`;

/** One value for each thing, whichever instances show it. */
export const max = (by: string, of: string) => `max by (${by}) (${of})`;
export const min = (by: string, of: string) => `min by (${by}) (${of})`;
/** Counters add up over instances: those of a restart or of another shard go on from 0. */
export const sum = (by: string, of: string) => `sum by (${by}) (${of})`;
export const rate = (of: string) => `rate(${of}[$__rate_interval])`;
export const increase = (of: string) => `increase(${of}[$__rate_interval])`;

/** The targets there are, at their polling intervals: there before the first poll. */
export const interval = max(TARGET, target("connections_exporter_target_poll_interval_seconds"));
const success = max(TARGET, target("connections_exporter_target_last_success_timestamp_seconds"));
/** Seconds since each target was listed. */
export const age = `time() - ${success}`;

/**
 * A count that is 0 where there are others but none of these, and has no value where there is nothing to count: what is not seen is not well.
 * Where a comparison with `bool` says it of each, a plain `sum` does the same.
 */
export const counted = (of: string, among: string) => `sum(${of}) or 0 * count(${among})`;

/**
 * How much of a target can be believed, the worst first:
 * 4 never listed, 3 not listed for three intervals, 2 the last poll failed, 1 as known before a restart, 0 well.
 */
export const believed = [
  `(4 + 0 * ${interval} unless ${success})`,
  `(3 + 0 * (${age} > 3 * ${interval}))`,
  `2 * ${max(TARGET, target("connections_exporter_target_failing"))}`,
  `${max(TARGET, target("connections_exporter_target_restored"))} == 1`,
  `0 * ${interval}`,
].join("\nor ");

/** Of rows with the labels of connections: how much their targets can be believed. */
export const believedOf = (rows: string) => `0 * ${rows} + on (${TARGET}) group_left () (\n${believed}\n)`;

/** Seconds until each stored token ends. */
export const left = max(CONNECTION, target("saas_connection_token_expires_in_seconds"));
export const WEEK = 7 * 86400;
const expiry = (ago = "") => max(CONNECTION, `${target("saas_connection_token_expiry_timestamp_seconds")}${ago}`);
/** How often since its exporter's start. */
export const renewals = `(${max(CONNECTION, target("saas_connection_token_renewals_total"))} and ${left})`;
/**
 * Seen to renew within seven days, as the alerts judge: the expiry is later than it was then, or than it was first seen if that is less long ago. For that
 * the counter tells, which begins anew with the process, or else what is known of some days. Reading all of seven days would take seconds.
 */
const renews = `(${expiry()} > (${["7d", "3d", "1d"].map((ago) => expiry(` offset ${ago}`)).join(" or ")}) or (${renewals} > 0 unless ${expiry(" offset 7d")}))`;
const refreshable = max(CONNECTION, target("saas_connection_refresh_token_stored"));
/** 1 where a refresh token is stored, else 0. */
export const refresh = `(${refreshable} and ${left})`;

/**
 * Tokens that were ever seen with two days ahead, as the alerts judge. Others are mostly made by client_credentials, and are renewed when next used. Asked
 * every six hours, since to read all of two weeks would take seconds: so six hours less will do, and for those that are younger, what is left now.
 */
const longLived = `(max_over_time(${left}[14d:6h]) or ${left}) >= ${42 * 3600}`;

/**
 * What becomes of each stored token, the worst last. Systems renew a token when it is next used, so a past expiry says little by itself:
 * 0 seen to renew within seven days, 1 stores a refresh token, 4 the same but past its expiry for a week.
 * Of those that do neither: 2 ends in over a week, 5 within a week, 6 within a day, 7 ended;
 * but if never seen with two days ahead, 2 until it is past its expiry for a day, 3 until for a week.
 */
export const fate = [
  `(0 * ${left} and ${renews})`,
  `(1 + 3 * (${left} < bool -${WEEK}) and ${refreshable} == 1)`,
  `(2 + (${left} < bool -86400) and ${left} > -${WEEK} unless ${longLived})`,
  `2 + 3 * (${left} < bool ${WEEK}) + (${left} < bool 86400) + (${left} <= bool 0)`,
].join("\nor ");

/** An edge has one identity, whichever of its two ends lists it. */
export const EDGE = `${ACCOUNT}, connection`;
const ends = ["source", "target"];
const named = `${EDGE}, ${ends.map((end) => `${end}_name`).join(", ")}`;
/** Facts of edges with both ends by name, or by the first digits of the id where no name is known. */
const withNames = (of: string) =>
  ends
    .flatMap((end) => [
      [`${end}_entity`, "(.{8}).*"],
      [`${end}_entity_name`, "(.+)"],
    ].map(([label, pattern]) => (inner: string) => `label_replace(${inner}, "${end}_name", "$1", "${label}", "${pattern}")`))
    .reduce((inner, wrap) => wrap(inner), of);

const STATUSES = ["disconnected", "other", "pending", "connected"];
/**
 * For each edge 0 disconnected, 1 an unknown status, 2 pending, 3 connected. Where its two ends disagree one of them was asked earlier: what comes later
 * in the life of a connection is then the newer, since nothing leads back.
 */
export const edgeStates = ["disconnected", "connected", "other", "pending"]
  .map((status) => `${STATUSES.indexOf(status)} * ${max(named, withNames(target("saas_connection_info", `status="${status}"`)))}`)
  .join("\nor ");
/**
 * 1 for each edge that a target saw connected within the last day and does not now, its row there or not, as the alert judges: by each target's own view,
 * and only where that has a listing.
 */
export const lost = max(
  EDGE,
  [
    `${max(`${TARGET}, connection`, `max_over_time(${target("saas_connection_connected")}[1d])`)} == 1`,
    `unless ${max(`${TARGET}, connection`, target("saas_connection_connected"))} == 1`,
    `and on (${TARGET}) ${max(TARGET, target("saas_connections"))}`,
  ].join("\n"),
);
/** Lost edges that no listing has any more, at 4; by the names that they had, one of those if there were several. */
const gone = [
  `4 * topk by (${EDGE}) (1, ${max(named, withNames(`last_over_time(${target("saas_connection_info", 'status!=""')}[1d])`))})`,
  `and on (${EDGE}) ${lost}`,
  `unless on (${EDGE}) ${max(EDGE, target("saas_connection_info", 'status!=""'))}`,
].join("\n");
/** Edges that are listed and those that were until they were lost, at their states. */
export const allEdges = `(${edgeStates}\nor (${gone}))`;
/** The same without those that are connected. */
export const notConnected = `((${edgeStates}) < 3\nor (${gone}))`;
/** Of edges: 1 if they were lost within the last day, else what is said of others. */
export const whetherLost = (rows: string, others: string) => `(1 + 0 * ${rows} and on (${EDGE}) ${lost})\nor ${others}`;

/** 1 for each connection, an edge that both ends list counted once. */
export const connections = `${max(CONNECTION, target("saas_connection_info", 'status=""'))} or ${max(EDGE, target("saas_connection_info", 'status!=""'))}`;

/** Narrowed to instances of this program, whatever the job is called. */
export const ours = (of: string) => `${of} and on (job, instance) connections_exporter_build_info`;
const scraped = `up and on (job, instance) (${["build_info", "api_budget_requests_per_second"].map((metric) => `last_over_time(connections_exporter_${metric}[1d])`).join(" or ")})`;
/**
 * Whether each instance is up; also those that are down now but were seen within a day. One that `/sd` lists in parts, of which those of accounts add their
 * names to its own, is one; and up if all of them are.
 */
export const instances = min(
  "job, instance",
  `label_replace(${min("job, process", `label_replace(${scraped}, "process", "$1", "instance", "(.+?)(/(zuora|zis)/.+)?")`)}, "instance", "$1", "process", "(.+)")`,
);

/** What holds each account's requests back: 0 nothing, 1 less than its whole budget, 2 a pause. */
export const heldBack = [
  `2 * (${max(ACCOUNT, account("connections_exporter_api_paused_until_timestamp_seconds"))} > bool 0) > 0`,
  `${max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", 'kind="effective"'))} < bool ${max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", 'kind="configured"'))}`,
].join("\nor ");
/** Requests a second that each account may send now. */
export const effective = max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", 'kind="effective"'));
export const requests = sum(ACCOUNT, rate(account("connections_exporter_api_requests_total")));
export const planned = max(ACCOUNT, account("connections_exporter_api_planned_requests_per_second"));
const quotas = (what: "limit" | "remaining" | "reset_timestamp_seconds") => max(`${ACCOUNT}, window`, account(`connections_exporter_api_quota_${what}`));
export const quotaLimit = quotas("limit");
/** What a vendor said of a window says nothing once the window is over. */
export const quotaLeft = `(${quotas("remaining")} unless ${quotas("reset_timestamp_seconds")} <= time())`;
/** As a share. */
export const quotaShare = `${quotaLeft} / ${quotaLimit}`;
