"""What repositories hold: uploads, manifests, checking, publishing, blobs, cards, companions, downloads."""
