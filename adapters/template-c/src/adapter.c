/* Function 1 of 4, what is on offer, and the exports of the contract. What the edge gives to an export is ours to free. */
#include "instruments.h"
#include <stdlib.h>
#include <string.h>

typedef marketprism_adapter_types_capability_t capability_t;
typedef exports_marketprism_adapter_adapter_list_answer_t answers_t;
typedef exports_marketprism_adapter_adapter_list_request_t requests_t;
typedef exports_marketprism_adapter_adapter_ranking_key_t ranking_key_t;
typedef exports_marketprism_adapter_adapter_list_ranked_t rows_t;

static loaded_t loaded;

static marketprism_adapter_types_list_market_type_t spot_only(void) {
    // Zero is spot.
    return (marketprism_adapter_types_list_market_type_t){zeroed(1, 1), 1};
}

void exports_marketprism_adapter_adapter_describe(exports_marketprism_adapter_adapter_description_t *ret) {
    capability_t *capabilities = zeroed(2, sizeof(capability_t));
    capabilities[0] = (capability_t){
        .data_type = TRADE,
        .market_types = spot_only(),
        .delivery = MARKETPRISM_ADAPTER_TYPES_DELIVERY_PUSH,
        .sequence = MARKETPRISM_ADAPTER_TYPES_SEQUENCE_RULE_UNNUMBERED,
        .checksum = MARKETPRISM_ADAPTER_TYPES_CHECKSUM_RULE_UNCHECKED,
        .snapshot = MARKETPRISM_ADAPTER_TYPES_SNAPSHOT_SOURCE_NOT_APPLICABLE,
        .contiguous_trade_ids = true,
        .backfill = true,
        .completeness = MARKETPRISM_ADAPTER_TYPES_COMPLETENESS_COMPLETE,
        .max_depth = 0,
    };
    capabilities[1] = capabilities[0];
    capabilities[1].data_type = ORDERBOOK;
    capabilities[1].market_types = spot_only();
    capabilities[1].sequence = MARKETPRISM_ADAPTER_TYPES_SEQUENCE_RULE_CONTIGUOUS;
    capabilities[1].snapshot = MARKETPRISM_ADAPTER_TYPES_SNAPSHOT_SOURCE_IN_BAND;
    capabilities[1].contiguous_trade_ids = false;
    capabilities[1].backfill = false;
    capabilities[1].max_depth = DEPTH_OFFERED;
    endpoint_t *endpoints = zeroed(2, sizeof(endpoint_t));
    endpoints[0] = (endpoint_t){joined("ws", NULL), joined("wss://stream.template.example", NULL)};
    endpoints[1] = (endpoint_t){joined("rest", NULL), joined("https://api.template.example", NULL)};
    marketprism_adapter_types_venue_t *venue = zeroed(1, sizeof *venue);
    *venue = (marketprism_adapter_types_venue_t){
        .exchange = joined("template_spot", NULL),
        .market_types = spot_only(),
        .capabilities = {capabilities, 2},
        .endpoints = {endpoints, 2},
    };
    ret->name = joined("template-c", NULL);
    ret->version = joined("0.1.0", NULL);
    ret->venues = (marketprism_adapter_types_list_venue_t){venue, 1};
}

static void ask_for_list(const feed_t *feed, requests_t *requests) {
    static const char path[] = "/v1/instruments";
    bytes_t base = endpoint_url(feed, "rest");
    string_t url = {allocated(base.len + strlen(path)), base.len + strlen(path)};
    memcpy(url.ptr, base.ptr, base.len);
    memcpy(url.ptr + base.len, path, strlen(path));
    *requests = (requests_t){zeroed(1, sizeof(marketprism_adapter_types_request_t)), 1};
    requests->ptr[0].method = MARKETPRISM_ADAPTER_TYPES_METHOD_GET;
    requests->ptr[0].url = url;
    requests->ptr[0].timeout_ms = 10000;
}

bool exports_marketprism_adapter_adapter_instrument_requests(feed_t *feed, answers_t *answers, requests_t *ret,
                                                             refusal_t *err) {
    *ret = (requests_t){NULL, 0};
    bool good = check_feed(feed, err);
    if (good && answers->len == 0) {
        ask_for_list(feed, ret);
    }
    exports_marketprism_adapter_adapter_feed_free(feed);
    exports_marketprism_adapter_adapter_list_answer_free(answers);
    return good;
}

bool exports_marketprism_adapter_adapter_instruments(feed_t *feed, answers_t *answers, instruments_t *ret,
                                                     refusal_t *err) {
    bool good = check_feed(feed, err);
    if (good && answers->len == 0) {
        good = refuse(err, "answers", joined("0", NULL), "the answers of 1 more requests");
    }
    if (good) {
        bytes_t body = {answers->ptr[0].body.ptr, answers->ptr[0].body.len};
        good = list_instruments(feed, body, ret, err);
    }
    exports_marketprism_adapter_adapter_feed_free(feed);
    exports_marketprism_adapter_adapter_list_answer_free(answers);
    return good;
}

static bool no_ranking(feed_t *feed, answers_t *answers, refusal_t *err) {
    exports_marketprism_adapter_adapter_feed_free(feed);
    exports_marketprism_adapter_adapter_list_answer_free(answers);
    return refuse(err, "ranking", joined("volume_24h", NULL), "nothing: the venue gives no ranking");
}

bool exports_marketprism_adapter_adapter_ranking_requests(feed_t *feed, ranking_key_t by, answers_t *answers,
                                                          requests_t *ret, refusal_t *err) {
    (void)by, (void)ret;
    return no_ranking(feed, answers, err);
}

bool exports_marketprism_adapter_adapter_ranking(feed_t *feed, ranking_key_t by, answers_t *answers, rows_t *ret,
                                                 refusal_t *err) {
    (void)by, (void)ret;
    return no_ranking(feed, answers, err);
}

bool exports_marketprism_adapter_adapter_load(feed_t *feed, instruments_t *instruments, refusal_t *err) {
    if (!check_feed(feed, err)) {
        exports_marketprism_adapter_adapter_feed_free(feed);
        exports_marketprism_adapter_adapter_list_instrument_free(instruments);
        return false;
    }
    loaded = (loaded_t){true, *feed, *instruments};
    keep_allocated();
    return true;
}

bool exports_marketprism_adapter_adapter_plan(plan_t *ret, refusal_t *err) {
    if (!loaded.ready) {
        return refuse(err, "plan", joined("not loaded", NULL), "a call of `load` first");
    }
    make_plan(&loaded, ret);
    return true;
}

bool exports_marketprism_adapter_adapter_backfill(exports_marketprism_adapter_adapter_trade_range_t *trades,
                                                  exports_marketprism_adapter_adapter_request_t *ret, refusal_t *err) {
    if (!loaded.ready) {
        return refuse(err, "backfill", joined("not loaded", NULL), "a call of `load` first");
    }
    char digits[11];
    if (trades->instrument >= loaded.instruments.len) {
        const char *given = number_text(trades->instrument, digits);
        return refuse(err, "instrument", joined(given, NULL), "an instrument of the feed");
    }
    if (trades->first > trades->last) {
        return refuse(err, "last", joined("less than the first", NULL), "at least the first id");
    }
    make_backfill(&loaded, trades, ret);
    return true;
}

/* A frame that is malformed leaves nothing but this note. Notes that are taken back hold no texts: a frame's note with a text is its
 * last step. */
static void malformed(output_t *output, const reading_t *reading) {
    marketprism_adapter_types_remark_t remark = {.tag = MARKETPRISM_ADAPTER_TYPES_REMARK_MALFORMED};
    remark.val.malformed.at = (uint32_t)reading->fault_at;
    remark.val.malformed.what = joined("expected ", reading->fault_what, NULL);
    remark.val.malformed.count = 1;
    output_note(output, &remark);
}

void exports_marketprism_adapter_adapter_normalize(exports_marketprism_adapter_adapter_frames_t *frames,
                                                   normalized_t *ret) {
    output_t output;
    output_begin(&output, frames->ends.len, frames->data.len);
    size_t start = 0;
    for (size_t index = 0; index < frames->ends.len; index++) {
        size_t end = frames->ends.ptr[index];
        size_t events = output.normalized.events.len, levels = output.normalized.levels.len;
        size_t notes = output.normalized.notes.len;
        reading_t reading = {NULL, 0, "a call of `load` before the first frame"};
        bool good = false;
        output.frame = (uint32_t)index;
        if (end < start || end > frames->data.len) {
            reading.fault_what = "a frame inside the batch, with source and time";
        } else if (loaded.ready) {
            good = normalize_frame(&loaded, &output, &reading, (bytes_t){frames->data.ptr + start, end - start});
        }
        if (!good) {
            output.normalized.events.len = events;
            output.normalized.levels.len = levels;
            output.normalized.notes.len = notes;
            malformed(&output, &reading);
        }
        forget_texts();
        start = end;
    }
    output_end(&output, ret);
    exports_marketprism_adapter_adapter_frames_free(frames);
}
