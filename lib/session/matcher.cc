#include "lib/session/matcher.h"

#include <cstring>

namespace mcp::internal {
namespace {

template <class Chain, class T>
void Append(Chain& chain, T* item) {
  item->next = nullptr;
  item->previous = chain.tail;
  (chain.tail == nullptr ? chain.head : chain.tail->next) = item;
  chain.tail = item;
}

template <class Chain, class T>
void Detach(Chain& chain, T* item) {
  (item->previous == nullptr ? chain.head : item->previous->next) = item->next;
  (item->next == nullptr ? chain.tail : item->next->previous) = item->previous;
}

}  // namespace

Matcher::~Matcher() = default;

void Matcher::Post(PostedReceive* receive) {
  receive->serial = next_serial_++;
  ++posted_;
  Append(receives_[receive->tag_mask == ~uint64_t{0} ? Bucket(receive->tag) : kBuckets], receive);
}

void Matcher::Release(PostedReceive* receive) { receive_pool_.Return(receive); }

void Matcher::Unlink(Chain<PostedReceive>& chain, PostedReceive* receive) {
  Detach(chain, receive);
  --posted_;
}

PostedReceive* Matcher::Match(uint64_t tag) {
  Chain<PostedReceive>& exact_chain = receives_[Bucket(tag)];
  PostedReceive* exact = exact_chain.head;
  while (exact != nullptr && exact->tag != tag) exact = exact->next;
  PostedReceive* masked = receives_[kBuckets].head;
  while (masked != nullptr && !masked->Accepts(tag)) masked = masked->next;
  if (exact != nullptr && (masked == nullptr || exact->serial < masked->serial)) {
    Unlink(exact_chain, exact);
    return exact;
  }
  if (masked != nullptr) Unlink(receives_[kBuckets], masked);
  return masked;
}

void Matcher::Hold(const std::byte* payload, uint64_t length, UnexpectedMessage* message) {
  message->length = length;
  if (length > UnexpectedMessage::kHereBytes) message->bytes = std::make_unique_for_overwrite<std::byte[]>(length);
  std::memcpy(message->bytes != nullptr ? message->bytes.get() : message->here, payload, length);
}

void Matcher::Add(UnexpectedMessage* message) {
  Append(unexpected_[Bucket(message->tag)], message);
  message->next_arrived = nullptr;
  message->previous_arrived = last_arrived_;
  (last_arrived_ == nullptr ? first_arrived_ : last_arrived_->next_arrived) = message;
  last_arrived_ = message;
  if (!message->request) unexpected_bytes_ += message->length;
}

void Matcher::Release(UnexpectedMessage* message) {
  message->request = false;
  message->bytes.reset();
  unexpected_pool_.Return(message);
}

void Matcher::Unlink(UnexpectedMessage* message) {
  Detach(unexpected_[Bucket(message->tag)], message);
  (message->previous_arrived == nullptr ? first_arrived_ : message->previous_arrived->next_arrived) =
      message->next_arrived;
  (message->next_arrived == nullptr ? last_arrived_ : message->next_arrived->previous_arrived) =
      message->previous_arrived;
  if (!message->request) unexpected_bytes_ -= message->length;
}

UnexpectedMessage* Matcher::Find(uint64_t tag, uint64_t tag_mask) {
  UnexpectedMessage* message = nullptr;
  if (tag_mask == ~uint64_t{0}) {
    message = unexpected_[Bucket(tag)].head;
    while (message != nullptr && message->tag != tag) message = message->next;
  } else {
    message = first_arrived_;
    while (message != nullptr && ((message->tag ^ tag) & tag_mask) != 0) message = message->next_arrived;
  }
  if (message != nullptr) Unlink(message);
  return message;
}

UnexpectedMessage* Matcher::FindRequest(uint64_t transfer) {
  UnexpectedMessage* message = first_arrived_;
  while (message != nullptr && !(message->request && message->transfer == transfer)) message = message->next_arrived;
  if (message != nullptr) Unlink(message);
  return message;
}

}  // namespace mcp::internal
