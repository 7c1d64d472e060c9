// A Terraform provider that knows a provider's schema and nothing of its cloud, so that Terraform itself can validate
// and plan deploy/terraform where the real providers cannot be had. The file that PROVIDER_SCHEMA names has the schema
// (record_schema.py wrote it); the program's own name, terraform-provider-NAME or terraform-provider-NAME_vVERSION, says
// which provider it is.
//
// A plan is what a provider without defaults plans: what the configuration has, and "known after apply" for the rest. A
// data source answers with the names of its attributes. An apply does the same to what was "known after apply", and makes
// nothing anywhere but in Terraform's own state.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

type attribute struct {
	Type                                    json.RawMessage
	Required, Optional, Computed, Sensitive bool
	Deprecated                              bool
	WriteOnly                               bool `json:"write_only"`
}

type nested struct {
	NestingMode string `json:"nesting_mode"`
	MinItems    int64  `json:"min_items"`
	MaxItems    int64  `json:"max_items"`
	Block       block
}

type block struct {
	Attributes map[string]attribute
	BlockTypes map[string]nested `json:"block_types"`
}

var nesting = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"list":   tfprotov5.SchemaNestedBlockNestingModeList,
	"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
	"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
	"map":    tfprotov5.SchemaNestedBlockNestingModeMap,
}

func (b block) schema() *tfprotov5.SchemaBlock {
	out := &tfprotov5.SchemaBlock{}
	for name, a := range b.Attributes {
		kind, err := tftypes.ParseJSONType(a.Type)
		check(err)
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{Name: name, Type: kind, Required: a.Required,
			Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, Deprecated: a.Deprecated, WriteOnly: a.WriteOnly})
	}
	for name, n := range b.BlockTypes {
		mode, known := nesting[n.NestingMode]
		if !known {
			check(fmt.Errorf("the block %s is nested as %q", name, n.NestingMode))
		}
		out.BlockTypes = append(out.BlockTypes, &tfprotov5.SchemaNestedBlock{TypeName: name, Nesting: mode,
			MinItems: n.MinItems, MaxItems: n.MaxItems, Block: n.Block.schema()})
	}
	return out
}

// fill replaces what the configuration leaves to the provider.
func (b block) fill(value tftypes.Value, with func(name string, kind tftypes.Type) tftypes.Value) tftypes.Value {
	if value.IsNull() || !value.IsKnown() {
		return value
	}
	var members map[string]tftypes.Value
	check(value.As(&members))
	for name, a := range b.Attributes {
		switch {
		case a.WriteOnly:
			// No provider may answer with such a value.
			members[name] = tftypes.NewValue(members[name].Type(), nil)
		case a.Computed && members[name].IsNull():
			members[name] = with(name, members[name].Type())
		}
	}
	for name, n := range b.BlockTypes {
		list := members[name]
		if list.IsNull() || !list.IsKnown() || n.NestingMode == "single" || n.NestingMode == "map" {
			continue
		}
		var items []tftypes.Value
		check(list.As(&items))
		for i := range items {
			items[i] = n.Block.fill(items[i], with)
		}
		members[name] = tftypes.NewValue(list.Type(), items)
	}
	return tftypes.NewValue(value.Type(), members)
}

func unknown(_ string, kind tftypes.Type) tftypes.Value {
	return tftypes.NewValue(kind, tftypes.UnknownValue)
}

// invented is a value of the type in which each text is the name of its attribute.
func invented(name string, kind tftypes.Type) tftypes.Value {
	switch kind := kind.(type) {
	case tftypes.List:
		return tftypes.NewValue(kind, []tftypes.Value{invented(name, kind.ElementType)})
	case tftypes.Set:
		return tftypes.NewValue(kind, []tftypes.Value{invented(name, kind.ElementType)})
	case tftypes.Map:
		return tftypes.NewValue(kind, map[string]tftypes.Value{})
	case tftypes.Object:
		members := map[string]tftypes.Value{}
		for member, memberKind := range kind.AttributeTypes {
			members[member] = invented(member, memberKind)
		}
		return tftypes.NewValue(kind, members)
	}
	switch {
	case kind.Is(tftypes.String):
		return tftypes.NewValue(kind, name)
	case kind.Is(tftypes.Number):
		return tftypes.NewValue(kind, 1)
	case kind.Is(tftypes.Bool):
		return tftypes.NewValue(kind, true)
	}
	panic(fmt.Sprintf("%s has the type %s", name, kind))
}

type provider struct {
	// A method that Terraform calls and that is not below ends the program.
	tfprotov5.ProviderServer
	blocks map[string]map[string]block
}

func (p provider) schemas(kind string) map[string]*tfprotov5.Schema {
	out := map[string]*tfprotov5.Schema{}
	for name, b := range p.blocks[kind] {
		out[name] = &tfprotov5.Schema{Block: b.schema()}
	}
	return out
}

func (p provider) filled(kind, name string, value *tfprotov5.DynamicValue, with func(string, tftypes.Type) tftypes.Value) *tfprotov5.DynamicValue {
	b := p.blocks[kind][name]
	object := (&tfprotov5.Schema{Block: b.schema()}).ValueType()
	unpacked, err := value.Unmarshal(object)
	check(err)
	packed, err := tfprotov5.NewDynamicValue(object, b.fill(unpacked, with))
	check(err)
	return &packed
}

func (p provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	settings := &tfprotov5.SchemaBlock{Attributes: []*tfprotov5.SchemaAttribute{
		{Name: "project", Type: tftypes.String, Optional: true}, {Name: "region", Type: tftypes.String, Optional: true}}}
	return &tfprotov5.GetProviderSchemaResponse{Provider: &tfprotov5.Schema{Block: settings}, ResourceSchemas: p.schemas("resource"),
		DataSourceSchemas: p.schemas("data"), EphemeralResourceSchemas: p.schemas("ephemeral")}, nil
}

func (p provider) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (p provider) PrepareProviderConfig(_ context.Context, q *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: q.Config}, nil
}

func (p provider) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

func (p provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (p provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (p provider) ValidateEphemeralResourceConfig(context.Context, *tfprotov5.ValidateEphemeralResourceConfigRequest) (*tfprotov5.ValidateEphemeralResourceConfigResponse, error) {
	return &tfprotov5.ValidateEphemeralResourceConfigResponse{}, nil
}

func (p provider) PlanResourceChange(_ context.Context, q *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	return &tfprotov5.PlanResourceChangeResponse{PlannedState: p.filled("resource", q.TypeName, q.ProposedNewState, unknown)}, nil
}

func (p provider) ApplyResourceChange(_ context.Context, q *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	object := (&tfprotov5.Schema{Block: p.blocks["resource"][q.TypeName].schema()}).ValueType()
	planned, err := q.PlannedState.Unmarshal(object)
	check(err)
	made, err := tftypes.Transform(planned, func(path *tftypes.AttributePath, value tftypes.Value) (tftypes.Value, error) {
		if value.IsKnown() {
			return value, nil
		}
		name := "unnamed"
		for _, step := range path.Steps() {
			if attribute, is := step.(tftypes.AttributeName); is {
				name = string(attribute)
			}
		}
		return invented(name, value.Type()), nil
	})
	check(err)
	packed, err := tfprotov5.NewDynamicValue(object, made)
	check(err)
	return &tfprotov5.ApplyResourceChangeResponse{NewState: &packed}, nil
}

func (p provider) ReadResource(_ context.Context, q *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	return &tfprotov5.ReadResourceResponse{NewState: q.CurrentState}, nil
}

func (p provider) UpgradeResourceState(_ context.Context, q *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	object := (&tfprotov5.Schema{Block: p.blocks["resource"][q.TypeName].schema()}).ValueType()
	state, err := q.RawState.Unmarshal(object)
	check(err)
	packed, err := tfprotov5.NewDynamicValue(object, state)
	check(err)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &packed}, nil
}

func (p provider) ReadDataSource(_ context.Context, q *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	return &tfprotov5.ReadDataSourceResponse{State: p.filled("data", q.TypeName, q.Config, invented)}, nil
}

func (p provider) OpenEphemeralResource(_ context.Context, q *tfprotov5.OpenEphemeralResourceRequest) (*tfprotov5.OpenEphemeralResourceResponse, error) {
	return &tfprotov5.OpenEphemeralResourceResponse{Result: p.filled("ephemeral", q.TypeName, q.Config, invented)}, nil
}

func (p provider) CloseEphemeralResource(context.Context, *tfprotov5.CloseEphemeralResourceRequest) (*tfprotov5.CloseEphemeralResourceResponse, error) {
	return &tfprotov5.CloseEphemeralResourceResponse{}, nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	// `terraform init` wants the version behind the name: terraform-provider-google_v7.45.0.
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-"), "_v")
	text, err := os.ReadFile(os.Getenv("PROVIDER_SCHEMA"))
	check(err)
	var recorded struct{ Schemas map[string]block }
	check(json.Unmarshal(text, &recorded))
	p := provider{blocks: map[string]map[string]block{"resource": {}, "data": {}, "ephemeral": {}}}
	for what, b := range recorded.Schemas {
		kind, resource, _ := strings.Cut(what, " ")
		if strings.HasPrefix(resource, name+"_") {
			p.blocks[kind][resource] = b
		}
	}
	check(tf5server.Serve("hashicorp/"+name, func() tfprotov5.ProviderServer { return p }))
}
