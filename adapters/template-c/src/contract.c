#include "contract.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void *allocated(size_t size) {
    void *block = malloc(size);
    if (block == NULL) {
        abort();
    }
    return block;
}

void *zeroed(size_t count, size_t size) {
    // Counts are those of lists that are in memory already.
    void *block = allocated(count * size);
    memset(block, 0, count * size);
    return block;
}

string_t copied(bytes_t bytes) {
    string_t copy = {NULL, bytes.len};
    if (bytes.len > 0) {
        copy.ptr = allocated(bytes.len);
        memcpy(copy.ptr, bytes.ptr, bytes.len);
    }
    return copy;
}

string_t joined(const char *first, ...) {
    va_list parts;
    size_t length = 0;
    va_start(parts, first);
    for (const char *part = first; part != NULL; part = va_arg(parts, const char *)) {
        length += strlen(part);
    }
    va_end(parts);
    string_t all = {length > 0 ? allocated(length) : NULL, length};
    size_t at = 0;
    va_start(parts, first);
    for (const char *part = first; part != NULL; part = va_arg(parts, const char *)) {
        memcpy(all.ptr + at, part, strlen(part));
        at += strlen(part);
    }
    va_end(parts);
    return all;
}

bytes_t bytes_of(string_t string) {
    return (bytes_t){string.ptr, string.len};
}

const char *number_text(uint32_t number, char *buffer) {
    char *at = buffer + 10;
    *at = 0;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return at;
}

bool refuse(refusal_t *refusal, const char *field, string_t value, const char *allowed) {
    *refusal = (refusal_t){joined(field, NULL), value, joined(allowed, NULL)};
    return false;
}

bool wants(const feed_t *feed, data_type_t data_type) {
    for (size_t index = 0; index < feed->data_types.len; index++) {
        if (feed->data_types.ptr[index] == data_type) {
            return true;
        }
    }
    return false;
}

static bool has_scheme(bytes_t url) {
    static const char *const schemes[] = {"ws://", "wss://", "http://", "https://"};
    for (int index = 0; index < 4; index++) {
        size_t length = strlen(schemes[index]);
        if (url.len >= length && memcmp(url.ptr, schemes[index], length) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_endpoints(const feed_t *feed, refusal_t *refusal) {
    for (size_t index = 0; index < feed->endpoints.len; index++) {
        const endpoint_t *endpoint = &feed->endpoints.ptr[index];
        bytes_t name = bytes_of(endpoint->name), url = bytes_of(endpoint->default_url);
        if (!bytes_equal(name, "ws") && !bytes_equal(name, "rest")) {
            return refuse(refusal, "endpoints", copied(name), "one of ws, rest");
        }
        if (!has_scheme(url)) {
            const char *field = bytes_equal(name, "ws") ? "endpoints.ws" : "endpoints.rest";
            return refuse(refusal, field, copied(url),
                          "an address that starts with wss://, ws://, https:// or http://");
        }
    }
    return true;
}

/* As configuration writes them, in the contract's order. */
static const char *const MARKET_TYPES[] = {"spot", "perpetual", "futures", "options"};
static const char *const DATA_TYPES[] = {
    "trade",       "orderbook",        "funding_rate",    "open_interest",
    "liquidation", "lsr_top_position", "lsr_all_account", "volatility_index",
};

bool check_feed(const feed_t *feed, refusal_t *refusal) {
    char digits[11];
    if (!bytes_equal(bytes_of(feed->exchange), "template_spot")) {
        return refuse(refusal, "exchange", copied(bytes_of(feed->exchange)), "one of template_spot");
    }
    for (size_t index = 0; index < feed->market_types.len; index++) {
        if (feed->market_types.ptr[index] != MARKETPRISM_ADAPTER_TYPES_MARKET_TYPE_SPOT) {
            const char *name = MARKET_TYPES[feed->market_types.ptr[index]];
            return refuse(refusal, "market_types", joined(name, NULL), "one of spot");
        }
    }
    for (size_t index = 0; index < feed->data_types.len; index++) {
        if (feed->data_types.ptr[index] != TRADE && feed->data_types.ptr[index] != ORDERBOOK) {
            const char *name = DATA_TYPES[feed->data_types.ptr[index]];
            return refuse(refusal, "data_types", joined(name, NULL), "one of trade, orderbook");
        }
    }
    if (feed->data_types.len == 0) {
        return refuse(refusal, "data_types", joined("[]", NULL), "one of trade, orderbook");
    }
    if (wants(feed, ORDERBOOK) && (feed->depth < 1 || feed->depth > DEPTH_OFFERED)) {
        return refuse(refusal, "depth", joined(number_text(feed->depth, digits), NULL), "1 to 500");
    }
    return check_endpoints(feed, refusal);
}

bytes_t endpoint_url(const feed_t *feed, const char *name) {
    const char *own = strlen(name) == 2 ? "wss://stream.template.example" : "https://api.template.example";
    bytes_t url = {(const uint8_t *)own, strlen(own)};
    for (size_t index = 0; index < feed->endpoints.len; index++) {
        if (bytes_equal(bytes_of(feed->endpoints.ptr[index].name), name)) {
            url = bytes_of(feed->endpoints.ptr[index].default_url);
        }
    }
    while (url.len > 0 && url.ptr[url.len - 1] == '/') {
        url.len--;
    }
    return url;
}
