"""A namespace's webhooks, for its admins: add, change, remove, try, look at deliveries, send again."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.models import Delivery, Webhook
from hub.names import split_path
from hub.services.webhooks import registry
from hub.services.webhooks.notices import EVENTS

TAGS = ["webhooks"]


class Events(serializers.ListField):
    """Verbs; empty is all."""

    child = serializers.ChoiceField([*EVENTS])


class NewWebhookBody(Body):
    """Where to send, and which events; `repository` limits it to one: its name in the namespace, or its path."""

    url = Text(max_length=1000)
    events = Events(default=list, max_length=len(EVENTS))
    repository = Text(max_length=202, required=False)


class WebhookBody(Body):
    """What to change."""

    url = Text(max_length=1000, required=False)
    events = Events(required=False, max_length=len(EVENTS))
    active = serializers.BooleanField(required=False)


class WebhookShape(serializers.ModelSerializer):
    """A webhook, without its secret."""

    namespace = serializers.CharField(source="namespace.name")
    repository = serializers.CharField(source="repository.path", default=None, allow_null=True)
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)
    events = serializers.ListField(child=serializers.CharField(), help_text="empty is all")
    stopped = serializers.CharField(help_text="why the hub switched it off")

    class Meta:
        model = Webhook
        fields = (
            "id",
            "namespace",
            "repository",
            "url",
            "events",
            "active",
            "failures",
            "stopped",
            "created_by",
            "created_at",
        )


class WebhookSecretShape(serializers.Serializer):
    """The secret that signs; shown this once."""

    secret = serializers.CharField()


class NewWebhookShape(WebhookShape):
    """A webhook just added, with the secret that signs; shown this once."""

    secret = serializers.CharField()

    class Meta(WebhookShape.Meta):
        fields = (*WebhookShape.Meta.fields, "secret")


class DeliveryShape(serializers.ModelSerializer):
    """One event for one webhook, and what came of the last attempt."""

    id = serializers.UUIDField(source="key", help_text="sent as webhook-id")
    payload = serializers.DictField()

    class Meta:
        model = Delivery
        fields = (
            "id",
            "event",
            "payload",
            "state",
            "attempts",
            "status",
            "answer",
            "error",
            "milliseconds",
            "created_at",
            "ended_at",
        )


class ForAdmins(View):
    """Every method needs the scope admin."""

    scopes = dict.fromkeys(("GET", "HEAD", "POST", "PATCH", "DELETE"), "admin")


class Webhooks(ForAdmins):
    """The webhooks of a namespace."""

    @extend_schema(operation_id="webhooks_list", tags=TAGS, responses=paged(WebhookShape))
    def get(self, request, namespace):
        found = queries.webhooks(self.viewer, access.namespace(self.viewer, namespace, "admin"))
        return page(request, found, ("id",), lambda rows: WebhookShape(rows, many=True).data)

    @extend_schema(operation_id="webhooks_add", tags=TAGS, request=NewWebhookBody, responses={201: NewWebhookShape})
    def post(self, request, namespace):
        place = access.namespace(self.viewer, namespace, "admin")
        wanted = self.read(NewWebhookBody)
        name = wanted.pop("repository", None)
        repository = access.repository(self.viewer, *split_path(name, place.name), "admin") if name else None
        webhook, secret = registry.add_webhook(actor=self.actor(), namespace=place, repository=repository, **wanted)
        return Response({**WebhookShape(webhook).data, "secret": secret}, status=201)


class OneWebhook(ForAdmins):
    """One webhook."""

    @extend_schema(operation_id="webhooks_read", tags=TAGS, responses=WebhookShape)
    def get(self, request, namespace, pk):
        return Response(WebhookShape(access.webhook(self.viewer, namespace, pk)).data)

    @extend_schema(operation_id="webhooks_change", tags=TAGS, request=WebhookBody, responses=WebhookShape)
    def patch(self, request, namespace, pk):
        webhook = access.webhook(self.viewer, namespace, pk)
        changed = registry.change_webhook(actor=self.actor(), webhook=webhook, **self.read(WebhookBody))
        return Response(WebhookShape(changed).data)

    @extend_schema(operation_id="webhooks_remove", tags=TAGS, responses={204: None})
    def delete(self, request, namespace, pk):
        registry.remove_webhook(actor=self.actor(), webhook=access.webhook(self.viewer, namespace, pk))
        return Response(status=204)


class Secret(ForAdmins):
    """Another secret; the old one signs nothing from now on."""

    @extend_schema(operation_id="webhooks_secret", tags=TAGS, request=None, responses=WebhookSecretShape)
    def post(self, request, namespace, pk):
        webhook = access.webhook(self.viewer, namespace, pk)
        return Response({"secret": registry.renew_secret(actor=self.actor(), webhook=webhook)})


class Ping(ForAdmins):
    """A trial event."""

    @extend_schema(operation_id="webhooks_ping", tags=TAGS, request=None, responses={201: DeliveryShape})
    def post(self, request, namespace, pk):
        webhook = access.webhook(self.viewer, namespace, pk)
        return Response(DeliveryShape(registry.ping(actor=self.actor(), webhook=webhook)).data, status=201)


class Deliveries(ForAdmins):
    """What was sent, newest first."""

    @extend_schema(operation_id="webhooks_deliveries", tags=TAGS, responses=paged(DeliveryShape))
    def get(self, request, namespace, pk):
        found = queries.deliveries(access.webhook(self.viewer, namespace, pk))
        return page(request, found, ("-id",), lambda rows: DeliveryShape(rows, many=True).data)


class OneDelivery(ForAdmins):
    """One delivery."""

    @extend_schema(operation_id="webhooks_delivery", tags=TAGS, responses=DeliveryShape)
    def get(self, request, namespace, pk, key):
        return Response(DeliveryShape(access.delivery(self.viewer, namespace, pk, key)).data)


class Redeliver(ForAdmins):
    """Send an event again, as a delivery of its own."""

    @extend_schema(operation_id="webhooks_redeliver", tags=TAGS, request=None, responses={201: DeliveryShape})
    def post(self, request, namespace, pk, key):
        delivery = access.delivery(self.viewer, namespace, pk, key)
        return Response(DeliveryShape(registry.redeliver(actor=self.actor(), delivery=delivery)).data, status=201)
