/* Function 3 of 4: what the edge has to open, send and repeat. */
#include "contract.h"
#include <string.h>

typedef marketprism_adapter_types_connection_t connection_t;
typedef marketprism_adapter_types_data_stream_t stream_t;
typedef marketprism_adapter_types_resync_t resync_t;

/* The venue allows 100 channels on a connection. */
enum { CHANNELS_PER_CONNECTION = 100 };

static const char CONNECTS[] = "template_spot.connects";
static const char REQUESTS[] = "template_spot.requests";

/* Writes to a buffer, or only measures where there is none. */
typedef struct {
    uint8_t *to;
    size_t length;
} writer_t;

static void put(writer_t *writer, const void *text, size_t length) {
    if (writer->to != NULL) {
        memcpy(writer->to + writer->length, text, length);
    }
    writer->length += length;
}

static void put_text(writer_t *writer, const char *text) {
    put(writer, text, strlen(text));
}

/* One of the feed's channels: all data types of the first instrument, then of the second. */
typedef struct {
    data_type_t data_type;
    uint32_t instrument;
} channel_t;

static channel_t channel_at(const loaded_t *loaded, size_t number) {
    size_t types = loaded->feed.data_types.len;
    return (channel_t){loaded->feed.data_types.ptr[number % types], (uint32_t)(number / types)};
}

static void put_message(writer_t *writer, const loaded_t *loaded, const char *op, size_t first, size_t count) {
    put_text(writer, "{\"op\":\"");
    put_text(writer, op);
    put_text(writer, "\",\"channels\":[");
    for (size_t number = first; number < first + count; number++) {
        channel_t channel = channel_at(loaded, number);
        string_t name = loaded->instruments.ptr[channel.instrument].venue_symbol;
        put_text(writer, number == first ? "\"" : ",\"");
        put_text(writer, channel.data_type == ORDERBOOK ? "book." : "trades.");
        put(writer, name.ptr, name.len);
        put_text(writer, "\"");
    }
    put_text(writer, "]}");
}

static string_t message(const loaded_t *loaded, const char *op, size_t first, size_t count) {
    writer_t writer = {NULL, 0};
    put_message(&writer, loaded, op, first, count);
    string_t text = {allocated(writer.length), writer.length};
    writer = (writer_t){text.ptr, 0};
    put_message(&writer, loaded, op, first, count);
    return text;
}

static strings_t resubscribe(const loaded_t *loaded, size_t number) {
    strings_t messages = {zeroed(2, sizeof(string_t)), 2};
    messages.ptr[0] = message(loaded, "unsubscribe", number, 1);
    messages.ptr[1] = message(loaded, "subscribe", number, 1);
    return messages;
}

static string_t url(const loaded_t *loaded) {
    bytes_t base = endpoint_url(&loaded->feed, "ws");
    string_t all = {allocated(base.len + 3), base.len + 3};
    memcpy(all.ptr, base.ptr, base.len);
    memcpy(all.ptr + base.len, "/v1", 3);
    return all;
}

static connection_t connection(const loaded_t *loaded, size_t index, size_t first, size_t count) {
    char digits[11];
    connection_t made = {
        .name = joined("stream-", number_text((uint32_t)index + 1, digits), NULL),
        .url = url(loaded),
        .on_open = {zeroed(1, sizeof(string_t)), 1},
        .heartbeat = {.tag = MARKETPRISM_ADAPTER_TYPES_HEARTBEAT_TEXT},
        .idle_timeout_ms = 60000,
        // The venue does not limit the age of a connection.
        .max_age_ms = 0,
        .messages_max = 5,
        .messages_window_ms = 1000,
        .charges = {zeroed(1, sizeof(marketprism_adapter_types_charge_t)), 1},
        .streams = {zeroed(count, sizeof(stream_t)), count},
    };
    made.on_open.ptr[0] = message(loaded, "subscribe", first, count);
    made.heartbeat.val.text.send = joined("{\"op\":\"ping\"}", NULL);
    made.heartbeat.val.text.every_ms = 20000;
    made.charges.ptr[0] = (marketprism_adapter_types_charge_t){joined(CONNECTS, NULL), 1};
    for (size_t number = first; number < first + count; number++) {
        channel_t channel = channel_at(loaded, number);
        made.streams.ptr[number - first] = (stream_t){
            .data_type = channel.data_type,
            .instrument = {true, channel.instrument},
            // Quiet pairs trade once a day.
            .expected_silence_ms = channel.data_type == ORDERBOOK ? 60000 : 0,
            .resubscribe = resubscribe(loaded, number),
        };
    }
    return made;
}

static resync_t resync(const loaded_t *loaded, size_t number) {
    resync_t made = {.instrument = channel_at(loaded, number).instrument};
    made.action.tag = MARKETPRISM_ADAPTER_TYPES_RESYNC_ACTION_RESUBSCRIBE;
    made.action.val.resubscribe.connection = (uint32_t)(number / CHANNELS_PER_CONNECTION);
    made.action.val.resubscribe.messages = resubscribe(loaded, number);
    return made;
}

/* The edge measures the offset of its clock from the venue's. */
static void put_clock(const loaded_t *loaded, plan_t *plan) {
    bytes_t base = endpoint_url(&loaded->feed, "rest");
    size_t length = base.len + strlen("/v1/time");
    string_t url = {allocated(length), length};
    writer_t writer = {url.ptr, 0};
    put(&writer, base.ptr, base.len);
    put_text(&writer, "/v1/time");
    plan->clock.is_some = true;
    plan->clock.val.request = (request_t){
        .method = MARKETPRISM_ADAPTER_TYPES_METHOD_GET,
        .url = url,
        .charges = {zeroed(1, sizeof(marketprism_adapter_types_charge_t)), 1},
        .timeout_ms = 10000,
    };
    plan->clock.val.request.charges.ptr[0] = (marketprism_adapter_types_charge_t){joined(REQUESTS, NULL), 1};
    plan->clock.val.pointer = joined("/time_us", NULL);
    plan->clock.val.unit = MARKETPRISM_ADAPTER_TYPES_TIME_UNIT_MICROSECONDS;
}

void make_plan(const loaded_t *loaded, plan_t *plan) {
    size_t channels = loaded->instruments.len * loaded->feed.data_types.len;
    size_t connections = (channels + CHANNELS_PER_CONNECTION - 1) / CHANNELS_PER_CONNECTION, books = 0;
    for (size_t number = 0; number < channels; number++) {
        books += channel_at(loaded, number).data_type == ORDERBOOK;
    }
    *plan = (plan_t){
        .connections = {connections > 0 ? zeroed(connections, sizeof(connection_t)) : NULL, connections},
        .resyncs = {books > 0 ? zeroed(books, sizeof(resync_t)) : NULL, 0},
        .budgets = {zeroed(2, sizeof(marketprism_adapter_types_budget_t)), 2},
    };
    plan->budgets.ptr[0] = (marketprism_adapter_types_budget_t){joined(CONNECTS, NULL), 10, 60000};
    plan->budgets.ptr[1] = (marketprism_adapter_types_budget_t){joined(REQUESTS, NULL), 10, 1000};
    put_clock(loaded, plan);
    for (size_t index = 0; index < connections; index++) {
        size_t first = index * CHANNELS_PER_CONNECTION, rest = channels - first;
        size_t count = rest < CHANNELS_PER_CONNECTION ? rest : CHANNELS_PER_CONNECTION;
        plan->connections.ptr[index] = connection(loaded, index, first, count);
    }
    for (size_t number = 0; number < channels; number++) {
        if (channel_at(loaded, number).data_type == ORDERBOOK) {
            plan->resyncs.ptr[plan->resyncs.len++] = resync(loaded, number);
        }
    }
}

static void put_number(writer_t *writer, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(writer, digits + at, sizeof digits - at);
}

/* Names of this venue hold letters, digits and underscores only, so they need no escapes. */
static void put_trade_url(writer_t *writer, const loaded_t *loaded, const trade_range_t *trades) {
    bytes_t base = endpoint_url(&loaded->feed, "rest");
    string_t name = loaded->instruments.ptr[trades->instrument].venue_symbol;
    put(writer, base.ptr, base.len);
    put_text(writer, "/v1/trade?name=");
    put(writer, name.ptr, name.len);
    put_text(writer, "&id=");
    put_number(writer, trades->first);
}

/* The venue gives past trades one by one, in the form of the stream: the edge asks again for the rest of the range. */
void make_backfill(const loaded_t *loaded, const trade_range_t *trades, request_t *request) {
    writer_t writer = {NULL, 0};
    put_trade_url(&writer, loaded, trades);
    string_t text = {allocated(writer.length), writer.length};
    writer = (writer_t){text.ptr, 0};
    put_trade_url(&writer, loaded, trades);
    *request = (request_t){
        .method = MARKETPRISM_ADAPTER_TYPES_METHOD_GET,
        .url = text,
        .charges = {zeroed(1, sizeof(marketprism_adapter_types_charge_t)), 1},
        .timeout_ms = 10000,
    };
    request->charges.ptr[0] = (marketprism_adapter_types_charge_t){joined(REQUESTS, NULL), 1};
}
