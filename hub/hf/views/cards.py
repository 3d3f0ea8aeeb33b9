"""`POST /api/validate-yaml`: asked with every README before it is pushed, by anyone: what is wrong, what to know."""

from django.http import HttpResponse
from rest_framework.response import Response

from hub.hf.view import STORING, View
from hub.services.commits.card_check import check_card


class ValidateYaml(View):
    """Errors are 400, in JSON, or as lines of text where the client asks for text."""

    authentication_classes = []
    little = STORING

    def post(self, request):
        body = self.body()
        content, is_dataset = body.get("content"), body.get("repoType") == "dataset"
        errors, warnings = check_card(content if isinstance(content, str) else "", dataset=is_dataset)
        status = 400 if errors else 200
        if "text/plain" in request.headers.get("Accept", ""):
            lines = [f"- Error: {text}" for text in errors] + [f"- Warning: {text}" for text in warnings]
            return HttpResponse("\n".join(lines), status=status, content_type="text/plain; charset=utf-8")
        found = {"errors": errors, "warnings": warnings}
        return Response({key: [{"message": text} for text in texts] for key, texts in found.items()}, status=status)
