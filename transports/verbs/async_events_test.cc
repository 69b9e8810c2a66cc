#include "transports/verbs/async_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace mcp::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Two engines on one device, and a third on another.
class AsyncEventsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    events_.Listen(&one_, &shared_, [this](const ibv_async_event& event) { one_.push_back(event.event_type); });
    events_.Listen(&other_, &shared_, [this](const ibv_async_event& event) { other_.push_back(event.event_type); });
    events_.Listen(&away_, &elsewhere_, [this](const ibv_async_event& event) { away_.push_back(event.event_type); });
  }

  void Deliver(ibv_event_type type) {
    ibv_async_event event = {};
    event.event_type = type;
    if (type == IBV_EVENT_CQ_ERR) event.element.cq = &queue_;
    if (type == IBV_EVENT_SRQ_ERR) event.element.srq = &receives_;
    if (type == IBV_EVENT_QP_FATAL) event.element.qp = &pair_;
    if (type == IBV_EVENT_PORT_ERR) event.element.port_num = 1;
    events_.Deliver(&shared_, event);
  }

  AsyncEvents events_;
  ibv_context shared_ = {}, elsewhere_ = {};
  ibv_qp pair_ = {};
  ibv_cq queue_ = {};
  ibv_srq receives_ = {};
  std::vector<ibv_event_type> one_, other_, away_;  // what each has heard
};

TEST_F(AsyncEventsTest, AnObjectsEventsAreItsMakers) {
  events_.Own(&other_, &pair_);
  events_.Own(&one_, &queue_);
  events_.Own(&other_, &receives_);
  Deliver(IBV_EVENT_QP_FATAL);
  Deliver(IBV_EVENT_CQ_ERR);
  Deliver(IBV_EVENT_SRQ_ERR);
  EXPECT_THAT(one_, ElementsAre(IBV_EVENT_CQ_ERR));
  EXPECT_THAT(other_, ElementsAre(IBV_EVENT_QP_FATAL, IBV_EVENT_SRQ_ERR));
  EXPECT_THAT(away_, IsEmpty());
}

TEST_F(AsyncEventsTest, WhatConcernsTheDeviceIsEverybodysOnIt) {
  Deliver(IBV_EVENT_DEVICE_FATAL);
  Deliver(IBV_EVENT_PORT_ERR);
  EXPECT_THAT(one_, ElementsAre(IBV_EVENT_DEVICE_FATAL, IBV_EVENT_PORT_ERR));
  EXPECT_THAT(other_, ElementsAre(IBV_EVENT_DEVICE_FATAL, IBV_EVENT_PORT_ERR));
  EXPECT_THAT(away_, IsEmpty());
}

TEST_F(AsyncEventsTest, WhatSomebodyElseMadeIsLeftAlone) {
  Deliver(IBV_EVENT_QP_FATAL);
  Deliver(IBV_EVENT_CQ_ERR);
  EXPECT_THAT(one_, IsEmpty());
  EXPECT_THAT(other_, IsEmpty());
}

TEST_F(AsyncEventsTest, WhoHasLeftHearsNothing) {
  events_.Own(&one_, &pair_);
  events_.Own(&other_, &queue_);
  events_.Disown(&queue_);
  events_.StopListening(&one_);
  Deliver(IBV_EVENT_QP_FATAL);
  Deliver(IBV_EVENT_CQ_ERR);
  Deliver(IBV_EVENT_DEVICE_FATAL);
  EXPECT_THAT(one_, IsEmpty());
  EXPECT_THAT(other_, ElementsAre(IBV_EVENT_DEVICE_FATAL));
}

}  // namespace
}  // namespace mcp::internal
